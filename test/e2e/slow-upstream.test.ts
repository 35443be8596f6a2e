/** Upstreams that take long to answer, over HTTP: the network's `fetch` has errors of its own. */
import type { ServerResponse } from 'node:http';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { type Client, createClient } from '#client/index.ts';
import { type Edge, startEdge } from '#test/support/edge.ts';
import { eventually } from '#test/support/eventually.ts';
import { type FakeUpstream, startUpstream } from '#test/support/upstream.ts';
import { messageEnd, messageStart, textBlock } from '#test/support/wire.ts';
import { withFastClock } from '#test/support/worker-clock.ts';

const MODEL = 'claude-haiku-4-5';
const ANSWER = messageStart({ model: MODEL }) + textBlock(['So.']) + messageEnd();
const request = { model: MODEL, max_tokens: 100, messages: [{ role: 'user' as const, content: 'Hi' }] };

let upstream: FakeUpstream;
/** The answers that the upstream has not given yet. */
let open: ServerResponse[];

beforeAll(async () => {
  upstream = await startUpstream((_, response) => open.push(response));
});

beforeEach(() => {
  open = [];
  upstream.receivedRequests.length = 0;
});

afterAll(async () => {
  await upstream.stop();
});

const asked = () => upstream.receivedRequests.filter(({ path }) => path === '/v1/messages').length;

async function edgeOf(vars: Record<string, string>, script = inject('worker')): Promise<Edge> {
  return await startEdge(script, { ANTHROPIC_API_KEY: 'test-key', ANTHROPIC_BASE_URL: upstream.url, ...vars });
}

describe('an upstream that sends no headers within STREAM_HEADERS_MS', () => {
  let edge: Edge;
  let several: Edge;
  let broken: FakeUpstream;

  beforeAll(async () => {
    edge = await edgeOf({ STREAM_HEADERS_MS: '3000' });
    broken = await startUpstream((_, response) => response.writeHead(500).end());
    const entry = (name: string, base_url: string) => ({ name, kind: 'anthropic', base_url, first_byte_ms: 3_000 });
    several = await edgeOf({
      UPSTREAMS: JSON.stringify([entry('slow', upstream.url), entry('broken', broken.url)]),
      UPSTREAM_SLOW_KEY: 'key',
      UPSTREAM_BROKEN_KEY: 'key',
    });
  });

  afterAll(async () => {
    await edge.stop();
    await several.stop();
    await broken.stop();
  });

  test.each([
    ['a message', {}],
    ['a turn', { conversation: 'c1' }],
  ])('receives one request, and the caller of %s gets 504', async (_, more) => {
    const response = await fetch(`${edge.url}/messages`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...request, ...more }),
    });
    expect(response.status).toBe(504);
    expect(await response.json()).toMatchObject({ error: { type: 'timeout_error' } });
    expect(asked()).toBe(1);
  });

  test('is replaced by the next upstream, and receives no second request when that one fails', async () => {
    const stream = createClient({ baseURL: several.url }).messages.stream(request);
    await expect(stream.text()).rejects.toMatchObject({ status: expect.any(Number) });
    expect(asked()).toBe(1);
    expect(broken.receivedRequests.length).toBeGreaterThan(1);
  });
});

describe('a turn whose upstream is silent for 15 seconds', () => {
  let edge: Edge;
  let client: Client;

  beforeAll(async () => {
    edge = await edgeOf(
      { UPSTREAM_MAX_RETRIES: '0', DEFAULT_LIMITS: '{"usd_per_day":0.01,"on_shortfall":"refuse"}' },
      withFastClock(inject('worker')),
    );
    // As the defaults are, by the clock of the edge.
    client = createClient({ baseURL: edge.url, patience: { silenceMs: 900, beginMs: 1_200, resumeMs: 12_000 } });
  });

  afterAll(async () => {
    await edge.stop();
  });

  test("opens the caller's stream, and returns a late response", async () => {
    const stream = client.messages.stream({ ...request, conversation: 'late' });
    expect(await stream.opened()).toBe(true);
    expect(stream.message).toBeUndefined();
    open[0]?.writeHead(200, { 'content-type': 'text/event-stream' }).end(ANSWER);
    expect(await stream.text()).toBe('So.');
    expect(asked()).toBe(1);
  });

  test('ends with an error event of the same type if the upstream then fails, and keeps the question', async () => {
    const stream = client.messages.stream({ ...request, conversation: 'failed' });
    expect(await stream.opened()).toBe(true);
    const error = { type: 'overloaded_error', message: 'Overloaded' };
    open[0]?.writeHead(529, { 'content-type': 'application/json' }).end(JSON.stringify({ type: 'error', error }));
    await expect(stream.text()).rejects.toMatchObject({ type: 'overloaded_error', status: undefined });
    expect(asked()).toBe(1);
    const { data } = await client.conversations.messages('failed');
    expect(data.map(({ role, content }) => [role, content])).toEqual([
      ['user', 'Hi'],
      ['assistant', []],
    ]);
  });

  test('sends nothing while it waits for budget, so a rejection keeps its status', async () => {
    // The usual patience: what is rejected here is the request, however slow this machine is.
    const patient = createClient({ baseURL: edge.url });
    const first = patient.messages.stream({ ...request, max_tokens: 1_000, conversation: 'first' });
    await eventually(() => expect(open).toHaveLength(1));
    const second = patient.messages.stream({ ...request, max_tokens: 1_000, conversation: 'second' });
    await expect(second.text()).rejects.toMatchObject({ type: 'rate_limit_error', status: 429 });
    expect(asked()).toBe(1);
    await first.stop();
  });
});
