/** Answers that are ridden, over HTTP: `test/edge/claude/stream-internally.test.ts` has no caller who closes a connection. */
import type { ServerResponse } from 'node:http';
import { connect } from 'node:net';
import Anthropic from '@anthropic-ai/sdk';
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { TEXT_STREAM, TOOL_STREAM } from '#test/fixtures/streams.ts';
import { type Edge, startEdge } from '#test/support/edge.ts';
import { type FakeUpstream, startUpstream, streamBytes } from '#test/support/upstream.ts';
import { blockEnd, messageEnd, messageStart, TEXT_BLOCK_START, textDelta } from '#test/support/wire.ts';

const MODEL = 'claude-opus-5-5';
const INPUT_USD = 4e-6;
const OUTPUT_USD = 20e-6;
const ASK = { model: MODEL, max_tokens: 128_000, messages: [{ role: 'user' as const, content: 'Hi' }] };
/** From one event to the next: fifty in a second. */
const EVENT_MS = 20;
/** A gateway that hears nothing for so long gives up. */
const GIVES_UP_MS = 400;

let upstream: FakeUpstream;
let edge: Edge;
let unridden: Edge;

beforeAll(async () => {
  upstream = await startUpstream(() => {});
  const vars = {
    ANTHROPIC_API_KEY: 'sk-ant-api03-the-key-of-the-deployment',
    ANTHROPIC_BASE_URL: upstream.url,
    DEFAULT_LIMITS: '{"usd_per_day":10}',
  };
  edge = await startEdge(inject('worker'), vars);
  unridden = await startEdge(inject('worker'), { ...vars, DEFAULT_LIMITS: '{}' });
});

afterAll(async () => {
  await edge.stop();
  await unridden.stop();
  await upstream.stop();
});

beforeEach(() => {
  upstream.receivedRequests.length = 0;
  upstream.cancelledCount = 0;
});

const ask = (url: string) =>
  fetch(`${url}/v1/messages`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(ASK),
  });

const OPENING = [messageStart({ model: MODEL, usage: { input_tokens: 50, output_tokens: 1 } }), TEXT_BLOCK_START];
const TOKEN = textDelta(' word');
const ENDING = [blockEnd(), messageEnd({ output_tokens: 40 })];

/** Writes so many tokens, one an event, in their pace. @returns how many were written */
async function writeTokens(response: ServerResponse, tokens: number): Promise<number> {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'request-id': 'req_up' });
  response.socket?.setNoDelay(true);
  response.write(OPENING.join(''));
  for (let written = 0; written < tokens; written += 1) {
    if (response.destroyed) return written;
    await new Promise((resolve) => setTimeout(resolve, EVENT_MS));
    response.write(TOKEN);
  }
  return tokens;
}

interface Row {
  status: string;
  cost_usd: number;
  hold_usd: number;
}

async function lastRow(settled: string): Promise<Row | undefined> {
  let row: Row | undefined;
  await expect
    .poll(async () => {
      const { data } = (await (await fetch(`${edge.url}/usage/requests?limit=1`)).json()) as { data: Row[] };
      row = data[0];
      return row?.status;
    })
    .toBe(settled);
  return row;
}

test('a non-streaming response that is cut costs its generated tokens instead of its maximum cost', async () => {
  const tokens = 60;
  upstream.answer = (_, response) => void writeTokens(response, tokens).then(() => response.socket?.destroy());
  const response = await ask(edge.url);
  expect(response.status).toBe(500);
  expect(await response.text()).not.toContain('word');
  const row = await lastRow('cut');
  expect(row?.hold_usd).toBeGreaterThan(2);
  expect(row?.cost_usd).toBeGreaterThanOrEqual(50 * INPUT_USD + tokens * OUTPUT_USD);
  expect(row?.cost_usd).toBeLessThanOrEqual(0.2);
});

test('a caller that disconnects ends an internal stream, and pays for its generated tokens', async () => {
  let written = Promise.resolve(0);
  upstream.answer = (_, response) => {
    written = writeTokens(response, 10_000);
  };
  const body = JSON.stringify(ASK);
  const caller = connect(Number(new URL(edge.url).port), '127.0.0.1');
  const head = `host: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n`;
  caller.write(`POST /v1/messages HTTP/1.1\r\n${head}\r\n${body}`);
  await expect.poll(() => upstream.receivedRequests.length).toBe(1);
  // Before the first byte of an answer the local runtime notices a reset, and no other end.
  caller.resetAndDestroy();
  await expect.poll(() => upstream.cancelledCount).toBe(1);
  const row = await lastRow('client_gone');
  expect(row?.cost_usd).toBeGreaterThanOrEqual(50 * INPUT_USD + (await written) * OUTPUT_USD);
  expect(row?.cost_usd).toBeLessThanOrEqual(0.2);
});

test('a gateway with a short idle timeout returns a non-streaming response, because the edge requests it as a stream', async () => {
  upstream.answer = ({ body }, response) => {
    if (body.includes('"stream":true')) {
      void writeTokens(response, 40).then(() => response.end(ENDING.join('')));
      return;
    }
    setTimeout(() => response.writeHead(504).end('<html>Gateway Timeout</html>'), GIVES_UP_MS);
  };
  const response = await ask(edge.url);
  expect(response.status).toBe(200);
  const text = ' word'.repeat(40);
  expect(await response.json()).toMatchObject({ content: [{ type: 'text', text }], usage: { output_tokens: 40 } });
  expect((await ask(unridden.url)).status).toBe(504);
});

test('the official SDK receives the same message without streaming as with streaming', async () => {
  for (const stream of [TEXT_STREAM, TOOL_STREAM]) {
    const pieces = stream.split(/(?<=\n\n)/).map((piece) => Buffer.from(piece));
    upstream.answer = (_, response) => void streamBytes(response, pieces, 'end');
    const client = new Anthropic({ apiKey: 'any', baseURL: edge.url, maxRetries: 0 });
    // For more than this the client itself demands a stream.
    const request = { ...ASK, max_tokens: 16_000 };
    const whole = await client.messages.create(request);
    const streamed = await client.messages.stream(request).finalMessage();
    expect(upstream.receivedRequests.map(({ body }) => body.includes('"stream":true'))).toEqual([true, true]);
    // The client adds what it has parsed.
    const { parsed_output: _, ...told } = streamed;
    expect(whole).toEqual(JSON.parse(JSON.stringify(told)));
    upstream.receivedRequests.length = 0;
  }
});
