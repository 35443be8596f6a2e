// In workerd: requests, answers and objects are the runtime's.
import { expect, onTestFinished, test, vi } from 'vitest';
import { MINUTE_MS } from '#edge/kit/async/durations.ts';
import { createTestApp, type SentRequest, type TestApp } from '#test/support/app.ts';
import { advanceClock } from '#test/support/calendar.ts';
import { installSimulator, setConversationUpstream } from '#test/support/conversations.ts';
import { messageStart, sseEvent, TEXT_BLOCK_START, textDelta } from '#test/support/wire.ts';
import { yieldToEventLoop } from '#test/support/yield-to-event-loop.ts';

const ASK = {
  model: 'claude-opus-5-5',
  max_tokens: 4_096,
  messages: [{ role: 'user', content: 'What do you know about Paris?' }],
};
/** The hold is so large that a buffered answer is streamed internally. */
const LIMITED = { STREAM_IDLE_MS: '6000000', DEFAULT_LIMITS: '{"usd_per_day":1000000}', UPSTREAM_MAX_RETRIES: '0' };
const PING = sseEvent('ping', {});
/** How far the clock advances with each piece. Milliseconds. */
const PIECE_MS = MINUTE_MS;
const MOST_PIECES = 400;

/** Timers that are run early, and have not run yet. */
const hastened = new Set<unknown>();

/** Waits until each of these timers has run, so that it checks the clock before the next piece advances it. */
async function timersHaveCome(): Promise<void> {
  const due = [...hastened];
  do await yieldToEventLoop();
  while (due.some((timer) => hastened.has(timer)));
}

/** A body that repeats the same piece, and ends by itself after hours. */
function pinging(begun: string, piece: string, signal: AbortSignal | undefined) {
  let pieces = 0;
  const encoder = new TextEncoder();
  const body = new ReadableStream({
    type: 'bytes',
    start(controller) {
      if (begun !== '') controller.enqueue(encoder.encode(begun));
      signal?.addEventListener('abort', () => controller.error(signal.reason), { once: true });
    },
    async pull(controller) {
      await timersHaveCome();
      if (signal?.aborted) return;
      pieces += 1;
      advanceClock(PIECE_MS);
      if (pieces > MOST_PIECES) controller.close();
      else controller.enqueue(encoder.encode(piece));
    },
  });
  return { body, minutes: () => (pieces * PIECE_MS) / MINUTE_MS };
}

/** Runs timers after one millisecond instead of their own time. @param which selects them by their milliseconds */
function hasten(which: (ms: number) => boolean): void {
  const { setTimeout, clearTimeout } = globalThis;
  const soon = (run: () => void, ms = 0) => {
    if (!which(ms)) return setTimeout(run, ms);
    const timer = setTimeout(() => {
      hastened.delete(timer);
      run();
    }, 1);
    hastened.add(timer);
    return timer;
  };
  const cleared = (timer: Parameters<typeof clearTimeout>[0]) => {
    hastened.delete(timer);
    clearTimeout(timer);
  };
  const spies = [
    vi.spyOn(globalThis, 'setTimeout').mockImplementation(soon as never),
    vi.spyOn(globalThis, 'clearTimeout').mockImplementation(cleared),
  ];
  onTestFinished(() => {
    for (const spy of spies) spy.mockRestore();
    hastened.clear();
  });
}

async function rowOf(app: TestApp): Promise<{ status: string; estimated: boolean; held_usd?: number } | undefined> {
  await app.waitUntilSettled();
  const { data } = (await (await app.fetch('/usage/requests')).json()) as {
    data: { status: string; estimated: boolean }[];
  };
  return data[0];
}

const BEGUN = messageStart() + TEXT_BLOCK_START + textDelta('Hello there. ');
const JSON_BEGUN = '{"type":"message","content":[';

test.each([
  ['a stream', { stream: true }, '', PING, 10],
  ['a stream of comments', { stream: true }, '', ': still here\n\n', 10],
  ['a stream that has begun', { stream: true }, BEGUN, PING, 60],
  ['a turn', { stream: true, conversation: 'pings' }, '', PING, 10],
  ['a turn that has begun', { stream: true, conversation: 'pings' }, BEGUN, PING, 60],
  ['an answer that rides', {}, '', PING, 10],
  ['an answer that rides and has begun', {}, BEGUN, PING, 60],
  ['a whole answer of white space', {}, '', ' ', 10],
  ['a whole answer with white space in it', {}, JSON_BEGUN, ' ', 60],
])(
  '%s that sends only keep-alives is aborted after its time limit and settled',
  async (_, more, begun, piece, after) => {
    // Include the quick first ticks of a turn: no timer that checks the clock may depend on the speed of this machine.
    hasten((ms) => ms >= 50);
    const type = piece === ' ' ? 'application/json' : 'text/event-stream';
    let made: ReturnType<typeof pinging> | undefined;
    let signal: AbortSignal | undefined;
    const answer = (given: AbortSignal | null | undefined) => {
      signal = given ?? undefined;
      made = pinging(begun, piece, signal);
      return new Response(made.body, { headers: { 'content-type': type } });
    };
    const app = createTestApp((sent: SentRequest) => answer(sent.signal), LIMITED);
    installSimulator(LIMITED);
    setConversationUpstream(async (_, init) => answer(init.signal));
    const response = await app.post('/v1/messages', { ...ASK, ...more });
    const text = await response.text();
    expect(text).toMatch(/stopped sending|did not respond in time/);
    expect(made?.minutes()).toBe(after);
    expect(signal?.aborted).toBe(true);
    expect(await rowOf(app)).toMatchObject({
      estimated: true,
      status: expect.stringMatching(/^(silent|cut|interrupted)$/),
    });
  },
);

test('a token count for which the upstream sends only white space is aborted after 20 s', async () => {
  hasten((ms) => ms === 20_000);
  let signal: AbortSignal | undefined;
  const app = createTestApp(({ signal: given }: SentRequest) => {
    signal = given;
    return new Response(pinging('', ' ', given).body, { headers: { 'content-type': 'application/json' } });
  }, LIMITED);
  const { model, messages } = ASK;
  const response = await app.post('/v1/messages/count_tokens', { model, messages });
  expect([response.status, await response.text()]).toEqual([504, expect.stringContaining('did not respond in time')]);
  expect(signal?.aborted).toBe(true);
});
