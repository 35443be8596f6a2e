// In workerd: requests, answers and aborts are the runtime's.
import 'cloudflare:workers';

import fc from 'fast-check';
import { beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { NetworkFailure } from '#edge/claude/call-network.ts';
import { UpstreamFailure } from '#edge/claude/failure.ts';
import { createUnansweredOutcome } from '#edge/claude/outcome.ts';
import { computeRetryWaitMs } from '#edge/claude/retry.ts';
import { sendToUpstream } from '#edge/claude/send.ts';
import type { SendProgress } from '#edge/claude/send-progress.ts';
import type { Payment } from '#edge/claude/send-request.ts';
import { type Fetch, getUpstreamBySettings } from '#edge/claude/upstream.ts';
import { parseSettingsOnce } from '#edge/config/settings.ts';
import { advanceClock, stopClock } from '#test/support/calendar.ts';
import { tryCases } from '#test/support/property-cases.ts';
import { DEPLOYED_VARS } from '#test/support/tokens.ts';

// How soon something fails says whether it has run: a busy machine must not.
beforeEach(stopClock);

const LONGEST_WAIT_MS = 10_000;

interface Circumstances {
  maxRetries?: number;
  timeoutMs?: number;
  controller?: AbortController;
  payment?: Payment | 'free' | undefined;
}

/** Sends to a `fetch` that gives one answer after the other; a function is called, the last answer is repeated. */
async function sendTo(
  answers: readonly (Response | (() => Promise<Response>))[],
  { maxRetries = 2, timeoutMs = 5_000, controller = new AbortController(), payment }: Circumstances = {},
) {
  const progress: SendProgress = { sentAt: undefined };
  const calls: { url: string; init: RequestInit }[] = [];
  const fetch: Fetch = async (url, init) => {
    const answer = answers[Math.min(calls.length, answers.length - 1)];
    calls.push({ url, init });
    if (answer === undefined) throw new Error('no answer');
    return typeof answer === 'function' ? answer() : answer.clone();
  };
  const started = Date.now();
  const upstream = { baseURL: 'https://upstream.test', apiKey: 'key', fetch, isSimulated: false };
  const request = { method: 'POST', path: '/v1/messages?beta=true', headers: { 'x-a': 'b' }, body: () => '{}' };
  let response: Response | undefined;
  let error: unknown;
  try {
    response = await sendToUpstream(upstream, request, {
      maxRetries,
      timeoutMs,
      controller,
      progress: progress,
      payment,
      createFailedOutcome: () => createUnansweredOutcome(progress, Date.now()),
    });
  } catch (thrown) {
    error = thrown;
  }
  return { response, error, calls, progress, ms: Date.now() - started };
}

const failing = () => Promise.reject(new TypeError('connection refused'));
/** Answers later than anything answers that has not worked on a request. */
const answeringLate = (answer: Response) => async () => {
  advanceClock(80);
  return answer.clone();
};
/** Fails later than a connection is refused. */
const failingLate = (words: string) => async () => {
  advanceClock(80);
  throw new TypeError(words);
};
const hanging = (signal: AbortSignal) => () =>
  new Promise<Response>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));

const soon = { 'retry-after-ms': '1' };

const answer = (status: number, headers: Record<string, string> = {}) => ({ status, headers: new Headers(headers) });

test('the backoff doubles from 0.5 to 8 seconds, minus random jitter of up to a quarter', () => {
  tryCases(100, fc.nat(20), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (attempt, random) => {
    const most = Math.min(0.5 * 2 ** attempt, 8) * 1_000;
    for (const failed of [undefined, answer(500), answer(529), answer(408), answer(409)]) {
      const wait = computeRetryWaitMs(failed, attempt, undefined, () => random);
      expect(wait).toBeCloseTo(most * (1 - random / 4), 6);
    }
  });
});

test('retries 408, 409 and 5xx, 429 only with a retry-after, and no other status', () => {
  for (let status = 200; status < 600; status += 1) {
    const retried = computeRetryWaitMs(answer(status), 0) !== undefined;
    expect(retried, String(status)).toBe(status === 408 || status === 409 || status >= 500);
  }
  expect(computeRetryWaitMs(answer(429, { 'retry-after': '1' }), 0)).toBe(1_000);
});

test('x-should-retry overrides the status of a failure, and is ignored on a success', () => {
  for (const status of [400, 404, 408, 429, 500, 529]) {
    expect(computeRetryWaitMs(answer(status, { 'x-should-retry': 'false', 'retry-after': '1' }), 0)).toBeUndefined();
    expect(computeRetryWaitMs(answer(status, { 'x-should-retry': 'true' }), 0)).toBeGreaterThan(0);
    expect(computeRetryWaitMs(answer(status, { 'x-should-retry': 'true', 'retry-after': '11' }), 0)).toBeUndefined();
  }
  for (const status of [200, 204, 301]) {
    expect(computeRetryWaitMs(answer(status, { 'x-should-retry': 'true' }), 0)).toBeUndefined();
  }
});

test('reads retry-after as milliseconds, seconds or a date, and does not wait for a long one', () => {
  tryCases(100, fc.nat(20_000), (ms) => {
    const seconds = Math.round(ms / 1_000);
    const expected = (asked: number) => (asked > LONGEST_WAIT_MS ? undefined : asked);
    expect(computeRetryWaitMs(answer(529, { 'retry-after-ms': String(ms) }), 0)).toBe(expected(ms));
    expect(computeRetryWaitMs(answer(529, { 'retry-after': String(seconds) }), 0)).toBe(expected(seconds * 1_000));
    // The finer of the two counts.
    const both = { 'retry-after-ms': String(ms), 'retry-after': '3' };
    expect(computeRetryWaitMs(answer(429, both), 0)).toBe(expected(ms));
  });
  const date = (ms: number) => ({ 'retry-after': new Date(Date.now() + ms).toUTCString() });
  const wait = computeRetryWaitMs(answer(429, date(5_000)), 0) ?? 0;
  expect(wait).toBeGreaterThan(3_000);
  expect(wait).toBeLessThanOrEqual(5_000);
  expect(computeRetryWaitMs(answer(429, date(60_000)), 0)).toBeUndefined();
  expect(computeRetryWaitMs(answer(429, date(-60_000)), 0)).toBe(0);
});

test('ignores an invalid retry-after', () => {
  for (const value of ['', ' ', 'soon', '-5', 'NaN']) {
    expect(computeRetryWaitMs(answer(429, { 'retry-after': value }), 0), value).toBeUndefined();
    expect(
      computeRetryWaitMs(answer(503, { 'retry-after': value }), 0, undefined, () => 0),
      value,
    ).toBe(500);
    expect(computeRetryWaitMs(answer(429, { 'retry-after-ms': value, 'retry-after': '2' }), 0), value).toBe(2_000);
  }
});

test.each([408, 409, 429, 500, 502, 503, 504, 529])('retries the same request after a %i', async (status) => {
  const busy = new Response('busy', { status, headers: soon });
  const { response, calls } = await sendTo([busy, new Response('done')], { payment: 'free' });
  expect(await response?.text()).toBe('done');
  expect(calls).toHaveLength(2);
  expect(calls[1]?.url).toBe('https://upstream.test/v1/messages?beta=true');
  expect({ ...calls[1]?.init }).toEqual({ ...calls[0]?.init });
  expect(calls[1]?.init).toMatchObject({ method: 'POST', body: '{}', redirect: 'manual' });
});

test('stops after maxRetries retries and returns the last response', async () => {
  for (const maxRetries of [0, 1, 3]) {
    const busy = new Response('busy', { status: 529, headers: soon });
    const { response, calls } = await sendTo([busy], { maxRetries, payment: 'free' });
    expect(calls).toHaveLength(maxRetries + 1);
    expect(response?.status).toBe(529);
    expect(await response?.text()).toBe('busy');
  }
});

test('retries a network failure, and finally throws an error without its details', async () => {
  const passing = await sendTo([failing, new Response('done')]);
  expect(await passing.response?.text()).toBe('done');
  const { error, calls } = await sendTo([failing], { maxRetries: 1 });
  expect(calls).toHaveLength(2);
  expect(error).toBeInstanceOf(UpstreamFailure);
  expect(error).toMatchObject({
    type: 'api_error',
    status: 500,
    logged: 'upstream_unreachable: connection refused',
    end: 'cut',
  });
  expect(String(error)).not.toContain('refused');
});

const envelope = () => Response.json({ type: 'error', error: { type: 'api_error', message: 'busy' } }, busyInit(500));
const busyInit = (status: number, headers: Record<string, string> = {}) => ({
  status,
  headers: { ...soon, ...headers },
});

test.each<[string, Response | (() => Promise<Response>)]>([
  ['the API’s own error', envelope()],
  ['an error with an id of the API’s', new Response('busy', busyInit(502, { 'request-id': 'req_1' }))],
  ['408', new Response('late', busyInit(408))],
  ['429', new Response('limit', busyInit(429))],
  ['521', new Response('down', busyInit(521))],
  ['525', new Response('no TLS', busyInit(525))],
  ['526', new Response('bad certificate', busyInit(526))],
  ['530', new Response('no origin', busyInit(530))],
  ['a connection that was refused at once', failing],
  ['a name that is not known', failingLate('DNS lookup failed')],
  ['a certificate that is not trusted', failingLate('TLS peer certificate is not trusted')],
])('retries without a payment if the request cannot have run: %s', async (_, first) => {
  const { response, calls } = await sendTo([first, new Response('done')]);
  expect(await response?.text()).toBe('done');
  expect(calls).toHaveLength(2);
});

test('retries without a payment after an error that arrives immediately', async () => {
  const { response, calls } = await sendTo([new Response('<html>', busyInit(502)), new Response('done')]);
  expect(await response?.text()).toBe('done');
  expect(calls).toHaveLength(2);
});

test.each([408, 500, 502, 503, 504, 520, 522, 524, 529])(
  'returns a late %i of a gateway without a retry if there is no payment',
  async (status) => {
    for (const body of ['<html>', '', '{"type":"message"}', 'null']) {
      const { response, calls, progress } = await sendTo([
        answeringLate(new Response(body, busyInit(status))),
        new Response('done'),
      ]);
      expect(calls).toHaveLength(1);
      expect(response?.status).toBe(status);
      expect(await response?.text()).toBe(body);
      expect(progress.sentAt).toBeTypeOf('number');
    }
  },
);

test('does not retry a connection that breaks late if there is no payment', async () => {
  const { error, calls, progress } = await sendTo([failingLate('Network connection lost.'), new Response('done')]);
  expect(calls).toHaveLength(1);
  expect(error).toBeInstanceOf(UpstreamFailure);
  expect(error).toMatchObject({ end: 'cut', logged: 'upstream_unreachable: Network connection lost.' });
  expect(progress.sentAt).toBeTypeOf('number');
});

test('sends a request once if the upstream received it and returned no valid headers', async () => {
  const sentAndLost = () => Promise.reject(new NetworkFailure(new Error('Network connection lost.'), true));
  const { error, calls, progress } = await sendTo([sentAndLost, new Response('done')], { payment: 'free' });
  expect(calls).toHaveLength(1);
  expect(error).toMatchObject({ type: 'api_error', end: 'cut', logged: 'upstream_no_headers' });
  expect(progress.sentAt).toBeTypeOf('number');
  const unsent = () => Promise.reject(new NetworkFailure(new Error('Network connection lost.'), false));
  expect(await (await sendTo([unsent, new Response('done')])).response?.text()).toBe('done');
});

test('settles an attempt that may have run, and admits the next before it is sent', async () => {
  const done: string[] = [];
  const payment: Payment = {
    canRetry: () => true,
    settleFailedAttempt: async () => void done.push('settled'),
    retry: async () => {
      done.push('admitted');
      const text = `{"try":${done.length}}`;
      return () => text;
    },
  };
  const gateway = async () => {
    done.push('sent');
    return await answeringLate(new Response('<html>', busyInit(504)))();
  };
  const refused = async () => {
    done.push('sent');
    return envelope();
  };
  const { response, calls } = await sendTo([gateway, refused, gateway, new Response('done')], {
    maxRetries: 3,
    payment,
  });
  expect(await response?.text()).toBe('done');
  // What the API itself has refused is not booked.
  expect(done).toEqual(['sent', 'settled', 'admitted', 'sent', 'sent', 'settled', 'admitted']);
  expect(calls.map(({ init }) => init.body)).toEqual(['{}', '{"try":3}', '{"try":3}', '{"try":7}']);
});

test('returns the last failure if the budget does not admit another attempt', async () => {
  const payment: Payment = {
    canRetry: () => true,
    settleFailedAttempt: async () => {},
    retry: () => Promise.reject(new Error('nothing left')),
  };
  const page = await sendTo([answeringLate(new Response('<html>', busyInit(504)))], { payment });
  expect(page.calls).toHaveLength(1);
  expect([page.response?.status, await page.response?.text()]).toEqual([504, '<html>']);
  const broken = await sendTo([failingLate('Network connection lost.')], { payment });
  expect(broken.calls).toHaveLength(1);
  expect(broken.error).toMatchObject({ logged: 'upstream_unreachable: Network connection lost.' });
  // It is booked: nothing is running any more.
  expect([page.progress.sentAt, broken.progress.sentAt]).toEqual([undefined, undefined]);
});

const LISTED = {
  ...DEPLOYED_VARS,
  UPSTREAM: '',
  ANTHROPIC_API_KEY: '',
  UPSTREAMS: JSON.stringify([{ name: 'east', kind: 'anthropic', base_url: 'https://east.waits.test' }]),
  UPSTREAM_EAST_KEY: 'key-east',
};

test.each([
  ['the only upstream', { ...DEPLOYED_VARS, UPSTREAM: 'anthropic', ANTHROPIC_API_KEY: 'sk-ant-the-key' }],
  ['one of the list', LISTED],
])('a failed attempt at %s is settled by its duration, without the wait that follows', async (_, vars) => {
  vi.useFakeTimers();
  onTestFinished(() => {
    vi.useRealTimers();
  });
  const answers = [new Response('<html>', busyInit(502, { 'retry-after-ms': '3000' })), new Response('done')];
  const upstream = getUpstreamBySettings(parseSettingsOnce(vars), async () => {
    vi.setSystemTime(Date.now() + 80);
    return answers.shift() ?? new Response('again');
  });
  const progress: SendProgress = { sentAt: undefined };
  const settled: number[] = [];
  const createFailedOutcome = () => createUnansweredOutcome(progress, Date.now());
  const payment: Payment = {
    canRetry: () => true,
    settleFailedAttempt: async ({ seen }) => void settled.push(seen?.lost_ms ?? Number.NaN),
    retry: async () => () => '{}',
  };
  const request = { method: 'POST', path: '/v1/messages', headers: {}, body: () => '{}' };
  const options = {
    maxRetries: 1,
    timeoutMs: 20_000,
    controller: new AbortController(),
    progress,
    payment,
    createFailedOutcome,
  };
  const sent = sendToUpstream(upstream, request, options);
  await vi.advanceTimersByTimeAsync(10_000);
  expect([await (await sent).text(), settled]).toEqual(['done', [80]]);
});

test('immediately returns a response that must not be retried', async () => {
  for (const answer of [
    new Response('bad', { status: 400 }),
    new Response('limit', { status: 429 }),
    new Response('limit', { status: 429, headers: { 'retry-after': '60' } }),
    new Response('no', { status: 500, headers: { 'x-should-retry': 'false' } }),
    new Response(null, { status: 302, headers: { location: 'https://elsewhere.test' } }),
  ]) {
    const { response, calls } = await sendTo([answer]);
    expect(calls).toHaveLength(1);
    expect(response?.status).toBe(answer.status);
  }
});

test('returns the failure if the wait would exceed the time limit', async () => {
  const busy = new Response('busy', { status: 503, headers: { 'retry-after': '2' } });
  vi.useFakeTimers();
  onTestFinished(() => {
    vi.useRealTimers();
  });
  const soon = async (answer: Response | (() => Promise<Response>)) => {
    const sent = sendTo([answer], { timeoutMs: 200, maxRetries: 50 });
    await vi.advanceTimersByTimeAsync(10_000);
    return await sent;
  };
  const { response, calls, ms } = await soon(busy);
  expect(calls).toHaveLength(1);
  expect(response?.status).toBe(503);
  expect(ms).toBe(0);
  const unreachable = await soon(failing);
  expect(unreachable.error).toMatchObject({ type: 'api_error' });
  expect(unreachable.ms).toBe(0);
});

test('stops an attempt or a wait when the caller disconnects, and sends nothing more', async () => {
  const reason = new Error('left');
  vi.useFakeTimers();
  onTestFinished(() => {
    vi.useRealTimers();
  });
  const waiting = new Response('busy', { status: 503, headers: { 'retry-after': '3' } });
  for (const first of [() => waiting, (signal: AbortSignal) => hanging(signal)]) {
    const controller = new AbortController();
    setTimeout(() => controller.abort(reason), 50);
    const sent = sendTo([first(controller.signal)], { controller, payment: 'free' });
    await vi.advanceTimersByTimeAsync(10_000);
    const { error, calls, ms } = await sent;
    expect(error).toBe(reason);
    expect(calls).toHaveLength(1);
    expect(ms).toBe(50);
  }
});

test('leaves a failed attempt to be settled with its request if the caller leaves during the wait', async () => {
  vi.useFakeTimers();
  onTestFinished(() => {
    vi.useRealTimers();
  });
  const settled: unknown[] = [];
  const payment: Payment = {
    canRetry: () => true,
    settleFailedAttempt: async (outcome) => void settled.push(outcome),
    retry: async () => () => '{}',
  };
  const controller = new AbortController();
  const failing = async () => {
    vi.setSystemTime(Date.now() + 80);
    return new Response('<html>', { status: 502, headers: { 'retry-after': '3' } });
  };
  setTimeout(() => controller.abort(new Error('left')), 1_000);
  const sent = sendTo([failing], { controller, payment });
  await vi.advanceTimersByTimeAsync(10_000);
  const { progress } = await sent;
  expect(settled).toEqual([]);
  // Settling reads from the progress how long the attempt ran: the wait is no part of that.
  expect(progress.sentAt).toBe(Date.now() - 9_000 - 80);
});

test('cancels the body of a failed response before it retries, however long the body is', async () => {
  let cancelled = 0;
  const busy = (
    headers: Record<string, string>,
    pull: (controller: ReadableStreamDefaultController) => void = () => {},
  ) => {
    const cancel = () => {
      cancelled += 1;
    };
    return async () =>
      new Response(new ReadableStream({ pull, cancel }), { status: 529, headers: { ...soon, ...headers } });
  };
  const silent = busy({ 'request-id': 'req_1' });
  const endless = busy({}, (controller) => controller.enqueue(new Uint8Array(4_096)));
  const { response } = await sendTo([silent, endless, new Response('done')], { payment: 'free' });
  expect(await response?.text()).toBe('done');
  expect(cancelled).toBe(2);
});

test.each([
  ['the only upstream', { ...DEPLOYED_VARS, UPSTREAM: 'anthropic', ANTHROPIC_API_KEY: 'sk-ant-the-key' }],
  ['one of the list', LISTED],
])('retries at %s after an error whose body does not end', async (_, vars) => {
  vi.useFakeTimers();
  onTestFinished(() => {
    vi.useRealTimers();
  });
  const cancel = vi.fn();
  const silent = new ReadableStream({ type: 'bytes', pull: () => new Promise<void>(() => {}), cancel });
  const answers = [new Response(silent, busyInit(502)), new Response('done')];
  const upstream = getUpstreamBySettings(parseSettingsOnce(vars), async () => {
    vi.setSystemTime(Date.now() + 80);
    return answers.shift() ?? new Response('again');
  });
  const progress: SendProgress = { sentAt: undefined };
  const sent = sendToUpstream(
    upstream,
    { method: 'POST', path: '/v1/messages', headers: {}, body: () => '{}' },
    {
      maxRetries: 1,
      timeoutMs: 20_000,
      controller: new AbortController(),
      progress,
      payment: 'free',
      createFailedOutcome: () => createUnansweredOutcome(progress, Date.now()),
    },
  );
  await vi.advanceTimersByTimeAsync(15_000);
  expect(await (await sent).text()).toBe('done');
  expect(cancel).toHaveBeenCalledTimes(1);
});
