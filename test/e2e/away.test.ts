/** A client that is away for longer than the edge keeps the events of a turn. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createClient } from '#client/index.ts';
import { type Edge, startEdge } from '#test/support/edge.ts';
import { eventually } from '#test/support/eventually.ts';
import { type FakeUpstream, startUpstream } from '#test/support/upstream.ts';
import { messageEnd, messageStart, textBlock } from '#test/support/wire.ts';
import { withClockAhead } from '#test/support/worker-clock.ts';

const MODEL = 'claude-haiku-4-5';
const PIECES = Array.from({ length: 50 }, (_, nth) => `Part ${nth}. `);
const AWAY_MS = 1_200_000;
/** What comes before the connection is lost: the beginning of the text. */
const MOST_BYTES = 900;

let upstream: FakeUpstream;
let edge: Edge;
let state: string;
let vars: Record<string, string>;

beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), 'sluice-away-'));
  upstream = await startUpstream((_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.end(messageStart({ model: MODEL }) + textBlock(PIECES) + messageEnd({ output_tokens: 200 }));
  });
  vars = { ANTHROPIC_API_KEY: 'test-key', ANTHROPIC_BASE_URL: upstream.url };
  edge = await startEdge(inject('worker'), vars, state);
});

afterAll(async () => {
  await edge.stop();
  await upstream.stop();
  await rm(state, { recursive: true, force: true });
});

test('a client that was away longer than turn events are stored reads the rest of the response from the history', async () => {
  const { promise: isBack, resolve: comeBack } = Promise.withResolvers<void>();
  const asked: string[] = [];
  const client = createClient({
    baseURL: 'http://edge.invalid',
    patience: { silenceMs: 240_000 },
    fetch: async (url, init) => {
      const { pathname, search } = new URL(url);
      if (asked.push(`${init.method} ${pathname}${search}`) > 1) await isBack;
      const response = await fetch(edge.url + pathname + search, init);
      return asked.length > 1 ? response : new Response(cut(response), response);
    },
  });
  const stream = client.messages.stream({
    model: MODEL,
    max_tokens: 300,
    conversation: 'trip',
    messages: [{ role: 'user', content: 'Hi' }],
  });
  await eventually(async () => {
    const { data } = (await (await fetch(`${edge.url}/conversations/trip/messages`)).json()) as { data: unknown[] };
    expect(data).toHaveLength(2);
  });
  expect(stream.message?.stop_reason ?? null).toBeNull();
  await edge.stop();
  edge = await startEdge(withClockAhead(inject('worker'), AWAY_MS), vars, state);
  comeBack();
  expect(await stream.text()).toBe(PIECES.join(''));
  expect((await stream.finalMessage()).stop_reason).toBe('end_turn');
  expect(stream.costUsd).toBeGreaterThan(0);
  expect(asked.at(-2)).toBe('GET /conversations/trip/stream');
  expect(asked.at(-1)).toContain('view=shown');
  expect(upstream.receivedRequests.filter(({ path }) => path === '/v1/messages')).toHaveLength(1);
});

/** @returns the beginning of a body, whose connection is then lost */
function cut({ body }: Response): ReadableStream<Uint8Array> {
  let left = MOST_BYTES;
  return (body ?? new ReadableStream()).pipeThrough(
    new TransformStream({
      transform(piece: Uint8Array, controller) {
        controller.enqueue(piece.slice(0, left));
        left -= piece.length;
        if (left <= 0) controller.error(new TypeError('terminated'));
      },
    }),
  );
}
