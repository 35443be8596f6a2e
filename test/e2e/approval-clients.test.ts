/** A person approves what a client has asked for that knows nothing of approvals; meanwhile the edge loses its power. */

import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAnthropic } from '@ai-sdk/anthropic';
import { generateText, type ModelMessage, streamText } from 'ai';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { createClient } from '../../src/client/index.ts';
import { eventsOf } from '../../src/conversations/turn/message-events.ts';
import { type Edge, startEdge } from '../support/edge.ts';
import { SDKS } from '../support/sdks.ts';
import { type FakeUpstream, startUpstream, streamBytes } from '../support/upstream.ts';

// The AI SDK warns of a result of a tool that it has not called, which is what a run is.
Object.assign(globalThis, { AI_SDK_LOG_WARNINGS: false });

const MODEL = 'claude-haiku-4-5';
const QUESTION = 'Pay the bill.';
const NEXT = 'And now?';

let upstream: FakeUpstream;
let tools: Server;
let calls = 0;
let edge: Edge;
let folder = '';
let vars: Record<string, string>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-approvals-'));
  tools = createServer({ keepAliveTimeout: 0 }, (request, response) => {
    calls += 1;
    request.resume();
    response.writeHead(200, { 'content-type': 'text/plain' }).end('paid');
  });
  await new Promise<void>((resolve) => tools.listen(0, '127.0.0.1', resolve));
  upstream = await startUpstream(({ body }, response) => {
    const { messages } = JSON.parse(body.toString()) as { messages: { content: unknown }[] };
    const last = JSON.stringify(messages.at(-1)?.content);
    const number = upstream.received.length;
    const content = last.includes(QUESTION)
      ? [
          { type: 'text', text: 'I pay. ' },
          { type: 'tool_use', id: `toolu_${number}`, name: 'pay', input: { amount: 500 } },
        ]
      : [{ type: 'text', text: last.includes('tool_result') ? 'It is paid.' : 'Nothing more.' }];
    const stop_reason = content.length > 1 ? 'tool_use' : 'end_turn';
    const usage = { input_tokens: 100, output_tokens: 20 };
    const shape = { type: 'message', role: 'assistant', model: MODEL, stop_sequence: null };
    const text = eventsOf({ id: `msg_${number}`, ...shape, content, stop_reason, usage });
    void streamBytes(response, [new TextEncoder().encode(text)], 'end');
  });
  vars = {
    MODE: 'development',
    ANTHROPIC_API_KEY: 'key',
    ANTHROPIC_BASE_URL: upstream.url,
    TOOL_HOSTS: `127.0.0.1:${(tools.address() as AddressInfo).port}`,
    TOOL_SIGNING_SECRET: `whsec_${btoa('0123456789abcdef0123456789abcdef')}`,
  };
  edge = await startEdge(inject('worker'), vars, folder);
});

afterAll(async () => {
  await edge?.stop();
  await upstream?.stop();
  tools?.close();
  await rm(folder, { recursive: true, force: true });
});

const sluice = () => createClient({ baseURL: edge.url });

/** A conversation whose tool needs an approval. */
async function prepared(id: string): Promise<string> {
  const url = `http://127.0.0.1:${(tools.address() as AddressInfo).port}/pay`;
  const tool = { name: 'pay', input_schema: { type: 'object' }, run: { url, once: true, approval: 'always' } };
  await sluice().conversations.create({ id, tools: [tool] });
  calls = 0;
  return id;
}

/** Approves what waits. @returns the turn that goes on, once it has ended */
async function approved(id: string): Promise<string> {
  const { data } = await sluice().conversations.approvals(id);
  expect(data).toMatchObject([{ name: 'pay', input: { amount: 500 } }]);
  const turn = await sluice().conversations.approve(id, data[0]?.id ?? '');
  expect(turn.type).toBe('turn');
  await expect
    .poll(async () => await sluice().conversations.turn(id, turn.id))
    .toMatchObject({ status: 'complete', paused: null });
  expect(calls).toBe(1);
  return turn.id;
}

/** Follows a turn in place of asking: the same client reads its stream. */
const following = (id: string, turn: string) => () => fetch(`${edge.url}/conversations/${id}/stream?after=${turn}-0`);

describe('a call that waits for a person', () => {
  test.each(SDKS)('pauses %s, which is kept out, follows what was approved, and goes on', async (name, Anthropic) => {
    const id = await prepared(name.replaceAll(' ', '_'));
    const options = { headers: { 'sluice-conversation': id } };
    const client = new Anthropic({ baseURL: edge.url, apiKey: 'any', maxRetries: 2 });
    const ask = { model: MODEL, max_tokens: 100 };
    const question = { role: 'user' as const, content: QUESTION };
    const first = await client.messages.stream({ ...ask, messages: [question] }, options).finalMessage();
    expect(first.stop_reason).toBe('pause_turn');
    expect(first.content.map(({ type }) => type as string)).toEqual(['text', 'mcp_tool_use']);
    const answer = { role: 'assistant' as const, content: first.content };
    // As a runner of tools does, which sends a paused answer back at once.
    const before = upstream.received.length;
    await expect(client.messages.create({ ...ask, messages: [question, answer] }, options)).rejects.toMatchObject({
      status: 423,
    });
    expect(upstream.received.length).toBe(before);

    const turn = await approved(id);
    const follower = new Anthropic({ baseURL: edge.url, apiKey: 'any', fetch: following(id, turn) as never });
    const second = await follower.messages.stream({ ...ask, messages: [question] }).finalMessage();
    expect(second.content.map(({ type }) => type as string)).toEqual(['mcp_tool_use', 'mcp_tool_result', 'text']);
    expect(second.stop_reason).toBe('end_turn');
    const messages = [question, answer, { role: 'assistant' as const, content: second.content }];
    const next = await client.messages.create(
      { ...ask, messages: [...messages, { role: 'user' as const, content: NEXT }] },
      options,
    );
    expect(next.content).toMatchObject([{ type: 'text', text: 'Nothing more.' }]);
  });

  test('keeps the AI SDK out by its first request: it would send a 409 again, whatever the headers say', async () => {
    const id = await prepared('ai_sdk_once');
    await sluice()
      .messages.stream({
        ...{ conversation: id, model: MODEL, max_tokens: 100 },
        messages: [{ role: 'user', content: QUESTION }],
      })
      .finalMessage();
    const statuses: number[] = [];
    const provider = createAnthropic({
      ...{ baseURL: `${edge.url}/v1`, apiKey: 'any', headers: { 'sluice-conversation': id } },
      fetch: async (...sent) => {
        const response = await fetch(...sent);
        statuses.push(response.status);
        return response;
      },
    });
    await expect(
      generateText({ model: provider(MODEL) as never, maxOutputTokens: 100, prompt: 'And now?' }),
    ).rejects.toMatchObject({ statusCode: 423, message: expect.stringContaining('waits for a person') });
    expect(statuses).toEqual([423]);
  });

  test('pauses the AI SDK, which follows what was approved, and sends both answers back as one', async () => {
    const id = await prepared('ai_sdk');
    const read = async (messages: ModelMessage[], fetchIt?: () => Promise<Response>) => {
      const headers = { 'sluice-conversation': id };
      const provider = createAnthropic({
        ...{ baseURL: `${edge.url}/v1`, apiKey: 'any', headers },
        ...(fetchIt ? { fetch: fetchIt as typeof fetch } : {}),
      });
      const errors: unknown[] = [];
      const result = streamText({
        ...{ model: provider(MODEL) as never, maxOutputTokens: 100, messages, maxRetries: 0 },
        onError: ({ error }) => {
          errors.push(error);
        },
      });
      const [text, response] = await Promise.all([result.text, result.response]);
      expect(errors).toEqual([]);
      return { text, messages: response.messages as ModelMessage[] };
    };
    const question: ModelMessage = { role: 'user', content: QUESTION };
    const first = await read([question]);
    expect(first.text).toBe('I pay. ');
    const turn = await approved(id);
    const second = await read([question], following(id, turn));
    expect(second.text).toBe('It is paid.');
    const next = await read([question, ...first.messages, ...second.messages, { role: 'user', content: NEXT }]);
    expect(next.text).toBe('Nothing more.');
  });

  test('waits while the power is cut, and is made once when the edge is back', async () => {
    const id = await prepared('cut');
    const stream = sluice().messages.stream({
      ...{ conversation: id, model: MODEL, max_tokens: 100 },
      messages: [{ role: 'user', content: QUESTION }],
    });
    expect((await stream.finalMessage()).stop_reason).toBe('pause_turn');
    await edge.kill();
    edge = await startEdge(inject('worker'), vars, folder);
    const turn = await approved(id);
    expect(await sluice().conversations.turn(id, turn)).toMatchObject({ continues: stream.turn });
  });
});
