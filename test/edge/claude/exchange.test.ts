import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type ExchangeOptions, UpstreamExchange } from '#edge/claude/exchange.ts';
import type { Fetch } from '#edge/claude/upstream.ts';
import { parseSettings } from '#edge/config/settings.ts';

const REQUEST = { method: 'POST', path: '/v1/messages', headers: {}, body: () => '{}' };
const settings = parseSettings({ ANTHROPIC_API_KEY: 'key', STREAM_IDLE_MS: '2000', UPSTREAM_TIMEOUT_MS: '9000' });

/** A call of an upstream that gives one answer after the other. Without another one it hangs until it is aborted. */
function calling(answers: ((signal: AbortSignal) => Response)[], more: Partial<ExchangeOptions> = {}) {
  let calls = 0;
  const fetch: Fetch = (_, { signal }) => {
    const answer = answers[calls];
    calls += 1;
    if (!signal) throw new TypeError('a call that nobody can end');
    if (answer) return Promise.resolve(answer(signal));
    return new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason));
    });
  };
  const upstream = { baseURL: 'https://upstream.test', apiKey: 'key', fetch, isSimulated: false };
  const exchange = new UpstreamExchange({ upstream, settings, ...more });
  return { exchange, calls: () => calls };
}

/** A body whose next piece comes when this many milliseconds have passed, until the call is aborted. */
const dripping = (everyMs: number) => (signal: AbortSignal) =>
  new Response(
    new ReadableStream({
      pull: async (controller) => {
        await new Promise((resolve) => {
          setTimeout(resolve, everyMs);
        });
        if (signal.aborted) controller.error(signal.reason);
        else controller.enqueue(Uint8Array.of(120));
      },
    }),
  );

/** Reads a body until it ends or breaks. */
async function read(exchange: UpstreamExchange, response: Response): Promise<void> {
  const { signal } = exchange.controller;
  try {
    for await (const _ of exchange.readPieces(response));
  } catch (thrown) {
    expect(thrown).toBe(signal.reason);
  }
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

test('all attempts share one time limit, after which the call fails with a 504', async () => {
  const busy = () => new Response('busy', { status: 503, headers: { 'retry-after-ms': '60' } });
  const { exchange, calls } = calling([busy]);
  const began = Date.now();
  const sent = exchange.sendToUpstream(REQUEST, { payment: 'free' }).catch((thrown: unknown) => thrown);
  await vi.advanceTimersByTimeAsync(20_000);
  expect(await sent).toMatchObject({ type: 'timeout_error', status: 504, end: 'cut' });
  expect(calls()).toBe(2);
  expect(exchange.controller.signal.aborted).toBe(true);
  expect(Date.now() - began).toBe(20_000);
  expect(exchange.createOutcome(exchange.createUnusableReport('upstream_timeout'), 'cut')).toMatchObject({
    sent: true,
    status: undefined,
  });
  exchange.closeExchange('cut');
});

test.each([
  ['a body that goes on is never cut', 1_900, {}, undefined],
  ['a silence in a body ends it', 2_100, {}, { end: 'silent' }],
  [
    'a call with a time for the whole ends, however its body goes on',
    500,
    { wholeMs: 20_000 },
    { end: 'cut', status: 504 },
  ],
])('%s', async (_, everyMs, more, expected) => {
  const { exchange } = calling([dripping(everyMs)], more);
  const response = await exchange.sendToUpstream(REQUEST);
  const reading = read(exchange, response);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(exchange.controller.signal.reason).toEqual(expected && expect.objectContaining(expected));
  exchange.controller.abort('the test is over');
  await vi.advanceTimersByTimeAsync(5_000);
  await reading;
  exchange.closeExchange();
});

test('time spent on processing a piece does not count as silence', async () => {
  const { exchange } = calling([() => new Response('some text')]);
  const response = await exchange.sendToUpstream(REQUEST);
  const pieces: number[] = [];
  for await (const piece of exchange.readPieces(response)) {
    await vi.advanceTimersByTimeAsync(60_000);
    pieces.push(piece.length);
  }
  expect([pieces, exchange.controller.signal.aborted]).toEqual([[9], false]);
  exchange.closeExchange();
});

test('the caller’s disconnection aborts the call, unless the exchange is closed', async () => {
  for (const isClosed of [false, true]) {
    const caller = new AbortController();
    const { exchange } = calling([], { signal: caller.signal });
    const sent = exchange.sendToUpstream(REQUEST).catch((thrown: unknown) => thrown);
    if (isClosed) exchange.closeExchange();
    caller.abort();
    expect(exchange.controller.signal.reason).toEqual(
      isClosed ? undefined : expect.objectContaining({ end: 'client_gone' }),
    );
    exchange.controller.abort('the test is over');
    await sent;
    exchange.closeExchange();
  }
  const gone = calling([], { signal: AbortSignal.abort() });
  await expect(gone.exchange.sendToUpstream(REQUEST)).rejects.toMatchObject({ end: 'client_gone' });
  expect(gone.calls()).toBe(0);
  gone.exchange.closeExchange();
});
