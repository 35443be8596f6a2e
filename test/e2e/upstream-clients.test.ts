/** Clients that know nothing of several upstreams, through an edge that has them. */

import type { ServerResponse } from 'node:http';
import { readUIMessageStream, type UIMessage } from 'ai';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { createChatTransport } from '#client/ai-sdk.ts';
import { createClient } from '#client/index.ts';
import { TEXT_STREAM } from '#test/fixtures/streams.ts';
import { type Edge, startEdge } from '#test/support/edge.ts';
import { SDKS } from '#test/support/sdks.ts';
import { type FakeUpstream, startUpstream, streamBytes } from '#test/support/upstream.ts';

const MODEL = 'claude-haiku-4-5';
const stream = new TextEncoder().encode(TEXT_STREAM);
const ask = { model: MODEL, max_tokens: 4_096, messages: [{ role: 'user' as const, content: 'Hi' }] };
const message = {
  id: 'msg_1',
  type: 'message',
  role: 'assistant',
  model: MODEL,
  content: [{ type: 'text', text: 'Well.' }],
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: { input_tokens: 5, output_tokens: 2 },
};

let east: FakeUpstream;
let west: FakeUpstream;
let edge: Edge;

function well(body: Buffer, response: ServerResponse): void {
  const { stream: streams } = JSON.parse(body.toString()) as { stream?: boolean };
  if (streams) void streamBytes(response, [stream], 'end');
  else response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(message));
}

/** What the first upstream does instead of an answer. */
const OUTAGES: Record<string, (response: ServerResponse) => void> = {
  'is overloaded': (response) => {
    const error = { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } };
    response.writeHead(529, { 'content-type': 'application/json' }).end(JSON.stringify(error));
  },
  'closes the connection': (response) => void response.socket?.destroy(),
  'ends its answer before the first byte': (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    response.socket?.destroy();
  },
};

beforeAll(async () => {
  [east, west] = await Promise.all([startUpstream(() => {}), startUpstream(() => {})]);
});

afterAll(async () => {
  await Promise.all([east.stop(), west.stop()]);
});

describe.each(Object.keys(OUTAGES))('a deployment whose first upstream %s', (outage) => {
  beforeAll(async () => {
    const entries = Object.entries({ east, west });
    edge = await startEdge(inject('worker'), {
      UPSTREAMS: JSON.stringify(entries.map(([name, { url }]) => ({ name, kind: 'anthropic', base_url: url }))),
      UPSTREAM_EAST_KEY: 'key-of-east',
      UPSTREAM_WEST_KEY: 'key-of-west',
    });
  });

  afterAll(() => edge.stop());

  beforeEach(() => {
    for (const one of [east, west]) one.receivedRequests.length = 0;
    east.answer = (_, response) => OUTAGES[outage]?.(response);
    west.answer = ({ body }, response) => well(body, response);
  });

  test.each(SDKS)('responds to %s with at most one retry by the client', async (_, Anthropic) => {
    let calls = 0;
    const client = new Anthropic({
      apiKey: 'any',
      baseURL: edge.url,
      fetch: (url, init) => {
        calls += 1;
        return fetch(url as string, init as RequestInit);
      },
    });
    const whole = await client.messages.create(ask).withResponse();
    expect(whole.data.content).toEqual(message.content);
    expect(whole.response.headers.get('sluice-upstream')).toBe('west');
    // What does not stream, and may have run, only the client sends again. Then it comes to the other upstream.
    const retries = outage === 'is overloaded' ? 0 : east.receivedRequests.length;
    expect(retries).toBeLessThanOrEqual(1);
    const final = await client.messages.stream(ask).finalMessage();
    expect(final.stop_reason).toBe('end_turn');
    for await (const event of await client.messages.create({ ...ask, stream: true }))
      expect(event.type).not.toBe('error');
    const conversation = { headers: { 'sluice-conversation': `c-${calls}-${outage.length}-${Anthropic.name}` } };
    const turn = await client.messages.create(ask, conversation);
    expect(turn.content.length).toBeGreaterThan(0);
    expect(calls).toBe(4 + retries);
    expect(west.receivedRequests.length).toBe(4);
    expect(west.receivedRequests.every(({ headers }) => headers['x-api-key'] === 'key-of-west')).toBe(true);
  });

  test("responds to the AI SDK through the client's chat transport", async () => {
    const client = createClient({ baseURL: edge.url });
    const transport = createChatTransport({ client, request: { model: MODEL, max_tokens: 50 } });
    const hello: UIMessage = { id: 'u1', role: 'user', parts: [{ type: 'text', text: 'Hello' }] };
    const chunks = await transport.sendMessages({
      chatId: `chat-${outage.length}`,
      trigger: 'submit-message',
      messageId: undefined,
      messages: [hello],
      abortSignal: undefined,
    });
    let last: UIMessage | undefined;
    for await (const one of readUIMessageStream({ stream: chunks })) last = one;
    expect(last?.parts.some((part) => part.type === 'text' && part.text !== '')).toBe(true);
    expect(west.receivedRequests.length).toBe(1);
  });
});
