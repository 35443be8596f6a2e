// In workerd: requests, answers and aborts are the runtime's.
import { env } from 'cloudflare:workers';

import fc from 'fast-check';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { NetworkFailure } from '#edge/claude/call-network.ts';
import { getUpstreamBySettings } from '#edge/claude/upstream.ts';
import { parseSettingsOnce, type Settings } from '#edge/config/settings.ts';
import { Conversation } from '#edge/conversations/object/conversation.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { createBody, createTestApp, readError, type SentRequest, type TestApp } from '#test/support/app.ts';
import { advanceClock, startClock, stopClock } from '#test/support/calendar.ts';
import {
  gatewayError,
  namelessErrorStream,
  TOO_LONG_MESSAGE,
  UNIVERSAL_ERRORS,
  UPSTREAM_SPECIFIC_ERRORS,
} from '#test/support/foreign-gateway/errors.ts';
import { isCountRequest, shortenCountTimeout, withoutCounts } from '#test/support/foreign-gateway/hanging-count.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { resetAll } from '#test/support/reset.ts';
import { bearerHeader, createToken, DEPLOYED_VARS, SECRET } from '#test/support/tokens.ts';
import {
  contentBlock,
  messageEnd,
  messageStart,
  messageWith,
  sseEvent,
  sseResponse,
  textBlock,
} from '#test/support/wire.ts';
import { yieldToEventLoop } from '#test/support/yield-to-event-loop.ts';

const MODEL = 'claude-opus-5-5';
const HAIKU = 'claude-haiku-5-5';
const USAGE = { input_tokens: 100, output_tokens: 100 };
/** Of an answer that has cached its prompt. */
const CACHED = { ...USAGE, cache_creation_input_tokens: 2_000, cache_read_input_tokens: 0 };
const ASK = { model: MODEL, max_tokens: 4_096, messages: [{ role: 'user', content: 'Hi' }] };

const LABEL = '{"label":"a"}';
const messageOf = (model: unknown) => messageWith({ model, content: [{ type: 'text', text: LABEL }], usage });
const streamOf = (model: unknown) => messageStart({ model, usage }) + textBlock([LABEL]) + messageEnd(usage);

function answered({ text }: SentRequest): Response {
  const { model, stream } = JSON.parse(text || '{}') as { model?: unknown; stream?: unknown };
  if (stream !== true) return Response.json(messageOf(model));
  return sseResponse(createBody([streamOf(model)]));
}

/** A body that falls silent behind its first bytes, and is broken off by an abort, as one of the network is. */
function silentBody(begun: string, signal: AbortSignal | undefined): ReadableStream<Uint8Array> {
  return new ReadableStream({
    type: 'bytes',
    start(controller) {
      controller.enqueue(new TextEncoder().encode(begun));
      signal?.addEventListener('abort', () => controller.error(signal.reason), { once: true });
    },
  });
}

/** An answer that never comes, until an abort ends the wait, as `fetch` does. */
function hangingAnswer(signal: AbortSignal | undefined): Promise<Response> {
  return new Promise((_, reject) => {
    if (signal?.aborted) reject(signal.reason);
    signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

const refusal =
  (status: number, type: string, headers: Record<string, string> = {}) =>
  () =>
    Response.json({ type: 'error', error: { type, message: 'No.' } }, { status, headers });

/** Everything that an upstream can do instead of an answer, before the first byte of one. */
const FAILURES: Record<string, (sent: SentRequest) => Response | Promise<Response>> = {
  'a refused connection': () => Promise.reject(new TypeError('connection refused')),
  'a refused key': refusal(401, 'authentication_error'),
  'a 403 about the key': () =>
    Response.json(
      { type: 'error', error: { type: 'permission_error', message: 'This API key may not.' } },
      { status: 403 },
    ),
  'a 403 that does not say whose it is': refusal(403, 'forbidden'),
  'no money': refusal(402, 'billing_error'),
  'no credit': () =>
    Response.json(
      { type: 'error', error: { type: 'invalid_request_error', message: 'Your credit balance is too low.' } },
      { status: 400 },
    ),
  'a 408': refusal(408, 'timeout_error'),
  'a 500': refusal(500, 'api_error'),
  'a 529': refusal(529, 'overloaded_error'),
  'a long 429': refusal(429, 'rate_limit_error', { 'retry-after': '60' }),
  'a 429 without a time': refusal(429, 'rate_limit_error'),
  'a redirect': () => new Response(null, { status: 307, headers: { location: 'https://elsewhere.test' } }),
  'a stream that begins with an error': () =>
    sseResponse(createBody([sseEvent('error', { error: { type: 'overloaded_error', message: 'Overloaded' } })])),
  'a body without a byte': () => sseResponse(createBody([])),
  'a page of something else': () => new Response('<html>Log in</html>', { headers: { 'content-type': 'text/html' } }),
  'an error with the status of a success': () =>
    Response.json({ type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } }),
  'bytes that are not text': () => new Response(Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58, 0x00)),
  'a success without a body': () => new Response(null, { status: 204 }),
  'a body that breaks at once': () =>
    new Response(createBody([], 'cut'), { headers: { 'content-type': 'application/json' } }),
};

/** Failures after which a request may have run. What does not stream is not sent again then: the caller's SDK does that. */
const MAY_HAVE_RUN = ['a body without a byte', 'a body that breaks at once'];
const WHOLE = ['a whole message', 'a classification'];

let counter = 0;
/** What answers report that they used. */
let usage: typeof USAGE = USAGE;
let says: Record<string, (sent: SentRequest) => Response | Promise<Response>>;

/** An entry of UPSTREAMS. Each test has hosts of its own, so that it begins with closed breakers. */
type Entry = { name: string } & Record<string, unknown>;

const nameIn = (sent: SentRequest) => sent.url.hostname.split('.')[0] ?? '';
const placesOf = (app: TestApp) => app.sent.map(nameIn);

function edge(entries: readonly Entry[], vars: Record<string, unknown> = {}): TestApp {
  counter += 1;
  const all = entries.map(({ name, ...entry }) => ({
    name,
    kind: 'anthropic',
    base_url: `https://${name}.n${counter}.test`,
    ...entry,
  }));
  const keys = entries.map(({ name }) => [`UPSTREAM_${name.toUpperCase()}_KEY`, `key-${name}`]);
  const settings = {
    UPSTREAM: '',
    ANTHROPIC_API_KEY: '',
    UPSTREAM_MAX_RETRIES: '0',
    UPSTREAMS: JSON.stringify(all),
    ...Object.fromEntries(keys),
    ...vars,
  };
  const answer = (sent: SentRequest) => {
    // A moment, so that what is booked has an order.
    advanceClock(1);
    return (says[nameIn(sent)] ?? answered)(sent);
  };
  const app = createTestApp((sent) => {
    expect(sent.headers.get('x-api-key')).toBe(`key-${nameIn(sent)}`);
    return answer(sent);
  }, settings);
  const inside = Conversation.prototype as unknown as { settings(): Settings; upstream(): unknown };
  const parsed = parseSettingsOnce({ ...settings }, true);
  vi.spyOn(inside, 'settings').mockReturnValue(parsed);
  vi.spyOn(inside, 'upstream').mockImplementation(() =>
    getUpstreamBySettings(parsed, async (url, init) => {
      const text = await new Response(init.body ?? '').text();
      const { signal } = init;
      const sent = {
        method: 'POST',
        url: new URL(url),
        headers: new Headers(init.headers),
        text,
        signal,
      } as SentRequest;
      app.sent.push(sent);
      return await answer(sent);
    }),
  );
  return app;
}

/** Has the account own a container, and a file, as what an upstream has made. */
async function makeThings(upstream: string): Promise<void> {
  const account = getAccountStub(env as unknown as Bindings, parseSettingsOnce({}, true), 'dev');
  await account.recordCreatedResources([
    { kind: 'container', id: 'container_1', upstream },
    { kind: 'file', id: 'file_1', upstream },
  ]);
}

const TWO: readonly Entry[] = [{ name: 'east' }, { name: 'west' }];

/** About when an open breaker lets a probe through. */
const OPEN_MS = 1_000;

beforeEach(() => {
  // How soon something fails says whether it has run: a busy machine must not.
  stopClock();
  usage = USAGE;
  says = {};
});
interface Row {
  model: string;
  upstream: string | null;
  failed_upstreams: string[];
  status: string;
  cost_usd: number;
  hold_usd: number;
}
async function rowsOf(app: TestApp): Promise<Row[]> {
  await app.waitUntilSettled();
  return ((await (await app.fetch('/usage/requests?limit=100')).json()) as { data: Row[] }).data;
}

const WAYS: Record<string, (more?: object) => [string, object]> = {
  'a streamed message': (more) => ['/messages', { ...ASK, ...more }],
  'a whole message': (more) => ['/v1/messages', { ...ASK, ...more }],
  'a turn of a conversation': (more) => ['/messages', { ...ASK, conversation: `c${counter}`, ...more }],
  'a classification': () => ['/classify', { input: 'x', labels: ['a', 'b'], model: MODEL, cache_seconds: 0 }],
};

describe.each(Object.keys(WAYS))('%s', (way) => {
  const ask = async (app: TestApp, headers: Record<string, string> = {}, more: object = {}) => {
    const [path, body] = WAYS[way]?.(more) ?? ['', {}];
    const response = await app.post(path, body, headers);
    return { response, text: await response.text() };
  };

  const isRepeated = (failure: string) => !(WHOLE.includes(way) && MAY_HAVE_RUN.includes(failure));

  test.each(Object.keys(FAILURES).filter(isRepeated))('goes to the next upstream after %s', async (failure) => {
    const app = edge(TWO);
    says.east = FAILURES[failure] ?? answered;
    for (const headers of [{}, { 'x-stainless-retry-count': '0' }] as Record<string, string>[]) {
      app.sent.length = 0;
      const { response, text } = await ask(app, headers);
      expect([response.status, response.headers.get('sluice-upstream')]).toEqual([200, 'west']);
      expect(text).toContain('label');
      if (way !== 'a turn of a conversation') expect(placesOf(app).at(-1)).toBe('west');
    }
    const rows = await rowsOf(app);
    expect(rows.filter(({ status }) => status === 'complete').map(({ upstream }) => upstream)).toContain('west');
    expect(rows.every(({ status }) => status !== 'held')).toBe(true);
  });

  test.each(Object.keys(FAILURES).filter((failure) => !isRepeated(failure)))(
    'does not try another upstream after %s',
    async (failure) => {
      const app = edge(TWO);
      says.east = FAILURES[failure] ?? answered;
      const { response } = await ask(app);
      expect(response.status).toBe(500);
      expect(placesOf(app)).toEqual(['east']);
      const [row, ...others] = await rowsOf(app);
      expect(others).toEqual([]);
      expect(row?.cost_usd).toBe(row?.hold_usd);
    },
  );

  test('returns the first failure if the next upstream rejects the request for an upstream-specific reason', async () => {
    for (const [form, words, status] of UPSTREAM_SPECIFIC_ERRORS) {
      const app = edge(TWO);
      says = { east: refusal(529, 'overloaded_error'), west: () => gatewayError(form, words, status) };
      const { response, text } = await ask(app);
      expect([response.status, text]).toEqual([529, expect.not.stringContaining(words)]);
      expect(placesOf(app)).toEqual(['east', 'west']);
      expect((await rowsOf(app)).every(({ cost_usd }) => cost_usd === 0)).toBe(true);
    }
  });

  test('retries a first upstream with an open breaker after an upstream-specific rejection by the second', async () => {
    const app = edge(TWO);
    says.east = refusal(529, 'overloaded_error');
    for (let nth = 0; nth < 7; nth += 1) expect((await ask(app)).response.status).toBe(200);
    const opened = placesOf(app).length;
    expect((await ask(app)).response.status).toBe(200);
    expect(placesOf(app).slice(opened)).toEqual(['west']);
    const words = 'context_management: Extra inputs are not permitted';
    says.west = () => gatewayError('the form of the API', words);
    const { response, text } = await ask(app);
    expect([response.status, text]).toEqual([529, expect.not.stringContaining(words)]);
    expect(placesOf(app).slice(opened)).toEqual(['west', 'west', 'east']);
    says.east = () => gatewayError('the form of the API', 'Of the first.');
    const same = await ask(app);
    expect([same.response.status, same.text]).toEqual([400, expect.stringContaining('Of the first.')]);
    says.east = answered;
    expect((await ask(app)).response.headers.get('sluice-upstream')).toBe('east');
  });

  test('returns an error that every upstream would return, in any error format', async () => {
    for (const form of ['the form of the API', 'a list']) {
      const app = edge(TWO);
      says = { east: refusal(529, 'overloaded_error'), west: () => gatewayError(form, TOO_LONG_MESSAGE) };
      const { response, text } = await ask(app);
      expect([response.status, response.headers.get('sluice-upstream')]).toEqual([400, 'west']);
      expect(text).toContain(TOO_LONG_MESSAGE);
    }
  });

  test('tries a third upstream after an upstream-specific rejection by the second', async () => {
    const app = edge([...TWO, { name: 'north' }]);
    says = {
      east: FAILURES['a refused connection'] ?? answered,
      west: () => gatewayError('a message', 'invalid beta flag'),
    };
    const { response } = await ask(app);
    expect([response.status, response.headers.get('sluice-upstream')]).toEqual([200, 'north']);
    expect(placesOf(app)).toEqual(['east', 'west', 'north']);
  });

  const placeOf = async (app: TestApp) => (await ask(app)).response.headers.get('sluice-upstream');

  test('returns to the first upstream after its recovery if nothing is cached', async () => {
    const app = edge(TWO);
    says.east = refusal(529, 'overloaded_error');
    expect(await placeOf(app)).toBe('west');
    says.east = answered;
    for (let time = 0; time < 2; time += 1) expect(await placeOf(app)).toBe('east');
  });

  test('stays at the upstream that cached its prompt until the cache expires', async () => {
    const app = edge(TWO);
    usage = CACHED;
    says.east = refusal(529, 'overloaded_error');
    expect(await placeOf(app)).toBe('west');
    await app.waitUntilSettled();
    says.east = answered;
    for (let time = 0; time < 2; time += 1) expect(await placeOf(app)).toBe('west');
    await app.waitUntilSettled();
    advanceClock(5 * 60_000 + 1_000);
    expect(await placeOf(app)).toBe('east');
  });

  test('returns to the first listed upstream that cached its prompt, even if another cached it later', async () => {
    const app = edge(TWO);
    usage = CACHED;
    expect(await placeOf(app)).toBe('east');
    await app.waitUntilSettled();
    says.east = refusal(529, 'overloaded_error');
    expect(await placeOf(app)).toBe('west');
    await app.waitUntilSettled();
    says.east = answered;
    expect(await placeOf(app)).toBe('east');
  });

  test('counts the failed attempt for the failed upstream, and the request for the upstream that responded', async () => {
    const app = edge(TWO);
    says.east = refusal(529, 'overloaded_error');
    expect(await placeOf(app)).toBe('west');
    const [row] = await rowsOf(app);
    expect(row).toMatchObject({ upstream: 'west', status: 'complete', failed_upstreams: ['east'] });
    const usageBy = async (query: string) =>
      (await (await app.fetch(`/usage?group_by=upstream${query}`)).json()) as { data: object[]; total: object };
    const ofAccount = await usageBy('&account=dev');
    expect(ofAccount.data).toContainEqual(expect.objectContaining({ key: 'east', requests: 0, failed: 1 }));
    expect(ofAccount.data).toContainEqual(expect.objectContaining({ key: 'west', requests: 1, failed: 0 }));
    expect(ofAccount.total).toMatchObject({ requests: 1, failed: 0 });
    says.west = refusal(529, 'overloaded_error');
    expect((await ask(app)).response.status).toBe(529);
    await app.waitUntilSettled();
    const { data } = await usageBy('&account=dev');
    expect(data).toContainEqual(expect.objectContaining({ key: 'east', failed: 2 }));
    expect(data).toContainEqual(expect.objectContaining({ key: 'west', failed: 1 }));
  });

  test('uses a requested fallback model if the requested model is overloaded at every upstream', async () => {
    const models = [MODEL, HAIKU];
    const app = edge(TWO.map((one) => ({ ...one, models })));
    const busy = (sent: SentRequest) =>
      (JSON.parse(sent.text) as { model: string }).model === MODEL
        ? refusal(529, 'overloaded_error')()
        : answered(sent);
    says = { east: busy, west: busy };
    expect((await ask(app)).response.status).toBe(529);
    const { response, text } = await ask(app, { 'sluice-fallback-models': `claude-nobody, ${HAIKU}` });
    expect(response.status).toBe(200);
    expect(response.headers.get('sluice-fallback-from')).toBe(MODEL);
    if (way !== 'a classification') expect(text).toContain(HAIKU);
    else expect((JSON.parse(text) as { model: string }).model).toBe(HAIKU);
    const rows = await rowsOf(app);
    const [last] = rows;
    expect([last?.model, last?.status]).toEqual([HAIKU, 'complete']);
    expect(rows.filter(({ model }) => model === MODEL).every(({ cost_usd }) => cost_usd === 0)).toBe(true);
  });
});

describe('a 400 from the second upstream', () => {
  const betaRefused = () => gatewayError('the form of the API', 'invalid beta flag');

  test.each(Object.keys(FAILURES).filter((failure) => !MAY_HAVE_RUN.includes(failure)))(
    'is not returned after %s at the first upstream',
    async (failure) => {
      const alone = edge([{ name: 'east' }]);
      says.east = FAILURES[failure] ?? answered;
      const first = await alone.post('/v1/messages', ASK);
      const app = edge(TWO);
      says.west = betaRefused;
      const response = await app.post('/v1/messages', ASK);
      expect(response.status).toBe(first.status);
      expect((await readError(response)).message).toBe((await readError(first)).message);
      expect(placesOf(app)).toEqual(['east', 'west']);
    },
  );

  const isAboutThinking = ([what]: [string, string]) =>
    ['a changed signature', 'changed thinking', 'another conversation'].includes(what);

  test.each(Object.entries(UNIVERSAL_ERRORS).filter(isAboutThinking))(
    'is not returned if it is about thinking that another upstream signed: %s',
    async (_, words) => {
      const app = edge(TWO);
      says = { east: refusal(529, 'overloaded_error'), west: () => gatewayError('a message', words) };
      expect((await app.post('/v1/messages', ASK)).status).toBe(529);
      says = { east: () => gatewayError('a message', words), west: answered };
      expect((await app.post('/v1/messages', ASK)).status).toBe(400);
    },
  );

  test.each(Object.entries(UNIVERSAL_ERRORS).filter((one) => !isAboutThinking(one)))(
    'is returned if the API documents it: %s',
    async (_, words) => {
      const app = edge(TWO);
      says = { east: refusal(500, 'api_error'), west: () => gatewayError('a message', words) };
      const response = await app.post('/v1/messages', ASK);
      expect([response.status, (await readError(response)).message]).toEqual([400, words]);
    },
  );

  test('is not returned for a stream or a token count if it is upstream-specific', async () => {
    const app = edge(TWO);
    const beta = () =>
      sseResponse(createBody([namelessErrorStream({ error: { message: 'invalid beta flag', code: 400 } })]));
    says = { east: refusal(529, 'overloaded_error'), west: beta };
    expect((await app.post('/messages', ASK)).status).toBe(529);
    says.west = betaRefused;
    const { model, messages } = ASK;
    expect((await app.post('/v1/messages/count_tokens', { model, messages })).status).toBe(529);
    says.west = () => sseResponse(createBody([namelessErrorStream({ error: { message: TOO_LONG_MESSAGE } })]));
    const response = await app.post('/messages', ASK);
    expect([response.status, (await readError(response)).message]).toEqual([400, TOO_LONG_MESSAGE]);
  });

  test('is returned if the failed upstream repeats it, or if the first upstream lacks the model', async () => {
    const app = edge(TWO, { UPSTREAM_MAX_RETRIES: '1' });
    let asked = 0;
    says.east = () => {
      asked += 1;
      return asked === 1 ? refusal(529, 'overloaded_error')() : betaRefused();
    };
    says.west = betaRefused;
    expect((await app.post('/v1/messages', ASK)).status).toBe(400);
    expect(placesOf(app)).toEqual(['east', 'west', 'east']);
    const other = edge(TWO);
    says.east = () =>
      Response.json({ type: 'error', error: { type: 'not_found_error', message: `model: ${MODEL}` } }, { status: 404 });
    // Also once nobody asks the first one any more.
    for (let nth = 0; nth < 7; nth += 1) {
      const response = await other.post('/v1/messages', ASK);
      expect([response.status, (await readError(response)).message]).toEqual([400, 'invalid beta flag']);
    }
  });

  test('is not returned while the first upstream is at its concurrency limit', async () => {
    const [east, west] = TWO;
    const app = edge([
      { name: 'east', ...east, max_concurrent: 1 },
      { name: 'west', ...west },
    ]);
    const { promise, resolve } = Promise.withResolvers<Response>();
    says = { east: () => promise, west: betaRefused };
    const first = app.post('/v1/messages', ASK);
    await vi.waitFor(() => expect(placesOf(app)).toEqual(['east']));
    const second = await app.post('/v1/messages', ASK);
    resolve(Response.json(messageOf(MODEL)));
    expect([(await first).status, second.status]).toEqual([200, 529]);
  });

  test('does not open a breaker, and a fallback model’s 400 does not replace the first failure', async () => {
    const app = edge(TWO);
    for (let nth = 0; nth < 7; nth += 1) {
      says = { east: nth === 0 ? refusal(529, 'overloaded_error') : betaRefused, west: betaRefused };
      await app.post('/v1/messages', ASK);
    }
    const { upstreams } = (await (await app.fetch('/health?upstreams')).json()) as {
      upstreams: { models: { state: string }[] }[];
    };
    expect(upstreams.flatMap(({ models }) => models.map(({ state }) => state))).toEqual(['closed', 'closed']);
    says = {
      east: (sent) => (sent.text.includes(MODEL) ? refusal(529, 'overloaded_error')() : betaRefused()),
      west: betaRefused,
    };
    const response = await app.post('/v1/messages', ASK, { 'sluice-fallback-models': HAIKU });
    expect(response.status).toBe(529);
    expect((await rowsOf(app)).every(({ cost_usd }) => cost_usd === 0)).toBe(true);
  });
});

/** When the first byte is late, in tests of that: as much time passes. */
const LATE_MS = 60;
const late = () => {
  advanceClock(LATE_MS);
  return new Promise<Response>(() => {});
};

/** The rows of a request that west has answered after east. */
const WEST_AFTER_EAST = [
  ['west', 'complete'],
  ['east', 'retried'],
];

test('returns the first upstream’s error if the caller can correct it, and opens no breaker', async () => {
  const app = edge(TWO);
  for (const [status, type] of [
    [400, 'invalid_request_error'],
    [404, 'not_found_error'],
    [413, 'request_too_large'],
  ] as const) {
    says.east = refusal(status, type);
    for (let nth = 0; nth < 7; nth += 1) {
      const response = await app.post('/v1/messages', ASK);
      expect([response.status, response.headers.get('sluice-upstream')]).toEqual([status, 'east']);
    }
  }
  expect(placesOf(app)).not.toContain('west');
});

test.each([
  [403, () => refusal(403, 'forbidden')()],
  [401, () => new Response('<html>Who are you?</html>', { status: 401 })],
  [307, () => new Response(null, { status: 307, headers: { location: 'https://elsewhere.test' } })],
])('a %i that may concern one caller opens the breaker only after a second caller receives it', async (_, answer) => {
  const app = edge(TWO, { SIGNING_SECRET: SECRET });
  const askAs = async (name: string) =>
    (await app.post('/v1/messages', ASK, bearerHeader(await createToken(`${name}${counter}`)))).headers.get(
      'sluice-upstream',
    );
  says.east = answer;
  expect(await askAs('alice')).toBe('west');
  says.east = answered;
  expect(await askAs('bob')).toBe('east');
  says.east = answer;
  for (const name of ['carol', 'dave', 'erin']) expect(await askAs(name)).toBe('west');
  expect(placesOf(app)).toEqual(['east', 'west', 'east', 'east', 'west', 'east', 'west', 'west']);
});

test('a probe that the upstream rejects because of a caller error closes the breaker', async () => {
  const app = edge(TWO, { SIGNING_SECRET: SECRET });
  const ask = async (nth: number) =>
    await app.post('/v1/messages', ASK, bearerHeader(await createToken(`p${counter}-${nth}`)));
  says.east = refusal(529, 'overloaded_error');
  for (let nth = 0; nth < 5; nth += 1) await ask(nth);
  says.east = refusal(400, 'invalid_request_error');
  let nth = 5;
  await expect
    .poll(async () => {
      advanceClock(OPEN_MS);
      nth += 1;
      return (await ask(nth)).headers.get('sluice-upstream');
    })
    .toBe('east');
  says.east = answered;
  for (let more = 0; more < 3; more += 1)
    expect((await ask(nth + 1 + more)).headers.get('sluice-upstream')).toBe('east');
});

describe('an upstream that returns 404 for the model', () => {
  const missing = (sent: SentRequest) => {
    const { model } = JSON.parse(sent.text) as { model: string };
    const error = { type: 'not_found_error', message: `model: ${model}` };
    return Response.json({ type: 'error', error }, { status: 404 });
  };

  test.each(Object.keys(WAYS))('is skipped by %s, and for a while gets no requests for the model', async (way) => {
    const app = edge(TWO);
    says.east = missing;
    for (let nth = 0; nth < 3; nth += 1) {
      const [path, body] = WAYS[way]?.() ?? ['', {}];
      const response = await app.post(path, { ...body, input: `x${nth}` });
      expect([response.status, response.headers.get('sluice-upstream')]).toEqual([200, 'west']);
      await response.text();
    }
    expect(placesOf(app)).toEqual(['east', 'west', 'west', 'west']);
    expect((await rowsOf(app)).filter(({ status }) => status !== 'complete')).toEqual([]);
    expect((await app.post('/v1/messages', { ...ASK, model: HAIKU })).status).toBe(200);
  });

  test('is skipped by a token count', async () => {
    const app = edge(TWO);
    says = { east: missing, west: () => Response.json({ input_tokens: 7 }) };
    const { model, messages } = ASK;
    const response = await app.post('/v1/messages/count_tokens', { model, messages });
    expect([response.status, await response.json()]).toEqual([200, expect.objectContaining({ input_tokens: 7 })]);
  });

  test('determines the response, unless another upstream is overloaded', async () => {
    const app = edge(TWO);
    says = { east: missing, west: missing };
    const response = await app.post('/v1/messages', ASK);
    expect([response.status, (await readError(response)).message]).toEqual([404, `model: ${MODEL}`]);
    const busy = refusal(529, 'overloaded_error');
    const locked = refusal(401, 'authentication_error');
    for (const [east, west, status] of [
      [missing, busy, 529],
      [busy, missing, 529],
      [missing, locked, 404],
      [locked, missing, 404],
    ] as const) {
      const other = edge(TWO);
      says = { east, west };
      expect((await other.post('/v1/messages', ASK)).status).toBe(status);
    }
  });

  test('opens no breaker for a model name that a caller invented', async () => {
    const app = edge(TWO);
    for (const model of ['claude-nobody', `${MODEL}-20990101`]) {
      says = { east: missing, west: missing };
      for (let nth = 0; nth < 6; nth += 1) expect((await app.post('/v1/messages', { ...ASK, model })).status).toBe(404);
    }
    says = {};
    const response = await app.post('/v1/messages', ASK);
    expect(response.headers.get('sluice-upstream')).toBe('east');
    const health = (await (await app.fetch('/health?upstreams')).json()) as {
      upstreams: { models: { state: string }[] }[];
    };
    expect(health.upstreams.flatMap(({ models }) => models).every(({ state }) => state === 'closed')).toBe(true);
  });
});

test('waits once for a short 429 before it tries the next upstream', async () => {
  const app = edge(TWO);
  let nth = 0;
  says.east = (sent) => {
    nth += 1;
    return nth === 1 ? refusal(429, 'rate_limit_error', { 'retry-after': '1' })() : answered(sent);
  };
  const response = await app.post('/v1/messages', ASK);
  expect([response.status, response.headers.get('sluice-upstream')]).toEqual([200, 'east']);
  says.east = refusal(429, 'rate_limit_error', { 'retry-after': '1' });
  app.sent.length = 0;
  const next = await app.post('/v1/messages', ASK);
  expect([next.status, placesOf(app)]).toEqual([200, ['east', 'east', 'west']]);
});

test('a stream whose first byte is late fails over, and the abandoned attempt is charged', async () => {
  const app = edge([{ name: 'east', first_byte_ms: LATE_MS }, { name: 'west' }]);
  says.east = late;
  const response = await app.post('/messages', ASK);
  expect([response.status, response.headers.get('sluice-upstream')]).toEqual([200, 'west']);
  await response.text();
  const rows = await rowsOf(app);
  expect(rows.map(({ upstream, status }) => [upstream, status])).toEqual(WEST_AFTER_EAST);
  for (const { cost_usd, hold_usd } of rows) {
    expect(cost_usd).toBeGreaterThan(0);
    expect(cost_usd).toBeLessThanOrEqual(hold_usd);
  }
});

/** What an upstream does that may have written all of an answer before it fails. */
const SICK: Record<string, () => Response | Promise<Response>> = {
  hangs: () => new Promise(() => {}),
  'resets the connection': () => Promise.reject(new Error('Network connection lost.')),
  'returns invalid headers': () => Promise.reject(new NetworkFailure(new Error('Network connection lost.'), true)),
  fails: () => new Response('<html>', { status: 502 }),
  'breaks behind its headers': () => sseResponse(createBody([], 'cut')),
};

test.each(Object.keys(SICK))(
  'if the first upstream %s, the second responds, with and without a limit, for max_tokens of 300 to 128,000',
  async (sick) => {
    for (const limits of [{}, { usd_per_day: 20 }, { usd_per_day: 20, on_shortfall: 'refuse' }]) {
      for (const max_tokens of [300, 1_023, 4_096, 32_000, 128_000]) {
        await resetAll();
        const app = edge([{ name: 'east', first_byte_ms: 20 }, { name: 'west' }], {
          DEFAULT_LIMITS: JSON.stringify(limits),
        });
        // By the clock all of its answer may have been written.
        says.east = () => {
          advanceClock(280_000);
          return SICK[sick]?.() ?? Promise.reject(new Error('well'));
        };
        const isTurn = max_tokens === 4_096 || max_tokens === 300;
        const more = isTurn ? { conversation: `sick${counter}` } : {};
        const response = await app.post('/messages', { ...ASK, max_tokens, ...more });
        expect(response.status).toBe(200);
        // A turn's caller may have been answered by a ping before.
        if (!isTurn) expect(response.headers.get('sluice-upstream')).toBe('west');
        expect(response.headers.get('sluice-max-tokens')).toBeNull();
        await response.text();
        const rows = await rowsOf(app);
        expect(rows.map(({ upstream, status }) => [upstream, status])).toEqual(WEST_AFTER_EAST);
        const [west, east] = rows;
        expect(west?.hold_usd).toBe(east?.hold_usd);
        expect(east?.cost_usd).toBeGreaterThan(0.9 * (east?.hold_usd ?? Number.NaN));
      }
    }
  },
);

test('tries each upstream once if all received the request and returned no valid headers', async () => {
  const app = edge(TWO);
  const sentAndLost = () => Promise.reject(new NetworkFailure(new Error('Network connection lost.'), true));
  Object.assign(says, { east: sentAndLost, west: sentAndLost });
  const response = await app.post('/messages', ASK);
  expect([response.status, (await readError(response)).message]).toEqual([500, expect.stringContaining('headers')]);
  expect(placesOf(app)).toEqual(['east', 'west']);
});

test('returns the first failure if the budget does not cover another attempt', async () => {
  const app = edge([{ name: 'east', first_byte_ms: LATE_MS }, { name: 'west' }], {
    DEFAULT_LIMITS: JSON.stringify({ usd_per_day: 0.006, min_output_tokens: 200 }),
  });
  says.east = (sent) => (isCountRequest(sent) ? Response.json({ input_tokens: 9 }) : late());
  const response = await app.post('/messages', ASK);
  expect([response.status, (await readError(response)).type]).toEqual([504, 'timeout_error']);
  expect(app.sent.filter((sent) => !isCountRequest(sent)).map(nameIn)).toEqual(['east']);
  expect((await rowsOf(app)).map(({ status }) => status)).toEqual(['retried']);
});

test('returns the first failure without queueing if other requests hold the remaining budget', async () => {
  // The budget covers two, and after one has failed only one.
  const app = edge(TWO, { DEFAULT_LIMITS: JSON.stringify({ usd_per_day: 0.2, on_shortfall: 'refuse' }) });
  const others = Promise.withResolvers<Response>();
  let other: Promise<Response> | undefined;
  says.east = async () => {
    if (other !== undefined) return await others.promise;
    other = app.post('/messages', ASK);
    await expect.poll(() => app.sent).toHaveLength(2);
    advanceClock(280_000);
    return new Response('<html>', { status: 502 });
  };
  const response = await app.post('/messages', ASK);
  expect([response.status, (await readError(response)).type]).toEqual([502, 'api_error']);
  expect(placesOf(app)).toEqual(['east', 'east']);
  others.resolve(sseResponse(createBody([streamOf(MODEL)])));
  expect((await other)?.status).toBe(200);
  await (await other)?.text();
  expect((await rowsOf(app)).map(({ status }) => status)).toEqual(['complete', 'retried']);
  expect(await (await app.fetch('/usage/requests?outcome=refused')).json()).toMatchObject({ data: [] });
});

test('does not fail over after the first byte was returned to the caller', async () => {
  const app = edge(TWO);
  const begun = streamOf(MODEL).slice(0, 400);
  says.east = () => sseResponse(createBody([begun], 'cut'));
  const text = await (await app.post('/messages', ASK)).text();
  expect(text).toContain('event: error');
  expect(placesOf(app)).toEqual(['east']);
});

test('an open breaker diverts all requests, and one successful probe closes it', async () => {
  const app = edge(TWO, { SIGNING_SECRET: SECRET });
  says.east = refusal(529, 'overloaded_error');
  const known = async () => {
    const { upstreams } = (await (await app.fetch('/health?upstreams')).json()) as {
      upstreams: { name: string; models: { model: string; state: string; elsewhere: unknown }[] }[];
    };
    return upstreams;
  };
  const states = async () => (await known()).map(({ name, models }) => [name, ...models.map(({ state }) => state)]);
  const elsewhere = async () => (await known()).map(({ models }) => models.map((model) => model.elsewhere));
  // Each of another account: none has a cache anywhere.
  const ask = async (nth: number) => {
    const response = await app.post('/messages', ASK, bearerHeader(await createToken(`open-${counter}-${nth}`)));
    await response.text();
    return response.headers.get('sluice-upstream');
  };
  for (let nth = 0; nth < 5; nth += 1) expect(await ask(nth)).toBe('west');
  expect(await states()).toEqual([
    ['east', 'open'],
    ['west', 'closed'],
  ]);
  // The request that has opened it went to the next upstream, too.
  expect(await elsewhere()).toEqual([[[{ upstream: 'west', requests: 1 }]], [[]]]);
  app.sent.length = 0;
  for (let nth = 5; nth < 15; nth += 1) expect(await ask(nth)).toBe('west');
  expect(await elsewhere()).toEqual([[[{ upstream: 'west', requests: 11 }]], [[]]]);
  // No probe sooner than three quarters of a second after it opened; each answer so far took a millisecond.
  expect(placesOf(app)).not.toContain('east');
  advanceClock(700);
  expect(await ask(15)).toBe('west');
  expect(placesOf(app)).not.toContain('east');
  // At most a second after it there is one, and the next one only after longer.
  advanceClock(OPEN_MS);
  for (let nth = 16; nth < 20; nth += 1) expect(await ask(nth)).toBe('west');
  expect(placesOf(app).filter((place) => place === 'east')).toHaveLength(1);
  says = {};
  advanceClock(2 * OPEN_MS + OPEN_MS);
  expect(await ask(20)).toBe('east');
  expect(await states()).toEqual([
    ['east', 'closed'],
    ['west', 'closed'],
  ]);
});

test('GET /health?upstreams responds only to admins', async () => {
  const app = edge(TWO, { ...DEPLOYED_VARS });
  const state = async (headers: Record<string, string> = {}) =>
    (await app.fetch('/health?upstreams', { headers })).status;
  expect(await state()).toBe(401);
  expect(await state(bearerHeader(await createToken('somebody', ['messages'])))).toBe(403);
  expect(await state(bearerHeader(await createToken('somebody', ['admin'])))).toBe(200);
  expect(await (await app.fetch('/health')).json()).toEqual({
    status: 'ok',
    upstream: 'anthropic',
    plugins: expect.any(Array),
  });
});

test('tries an upstream although every breaker is open, if there is no fallback model', async () => {
  const app = edge(TWO);
  says = { east: refusal(500, 'api_error'), west: refusal(500, 'api_error') };
  for (let nth = 0; nth < 6; nth += 1) expect((await app.post('/v1/messages', ASK)).status).toBe(500);
  says = {};
  expect((await app.post('/v1/messages', ASK)).status).toBe(200);
});

test('runs at most max_concurrent requests at an upstream', async () => {
  const app = edge([
    { name: 'east', max_concurrent: 2 },
    { name: 'west', max_concurrent: 1 },
  ]);
  const waiting: (() => void)[] = [];
  const slow = (sent: SentRequest) => new Promise<Response>((resolve) => waiting.push(() => resolve(answered(sent))));
  says = { east: slow, west: slow };
  const running = [app.post('/v1/messages', ASK), app.post('/v1/messages', ASK), app.post('/v1/messages', ASK)];
  await expect.poll(() => waiting.length).toBe(3);
  expect([...placesOf(app)].sort()).toEqual(['east', 'east', 'west']);
  const refused = await app.post('/v1/messages', ASK);
  expect([refused.status, (await readError(refused)).type, refused.headers.get('retry-after')]).toEqual([
    529,
    'overloaded_error',
    '2',
  ]);
  for (const go of waiting) go();
  for (const one of running) expect((await one).status).toBe(200);
  says = {};
  expect((await app.post('/v1/messages', ASK)).status).toBe(200);
});

test('sends a request with a container or file only to the upstream that created it', async () => {
  const app = edge(TWO);
  says.east = refusal(529, 'overloaded_error');
  await makeThings('east');
  const file = [{ type: 'document', source: { type: 'file', file_id: 'file_1' } }];
  for (const more of [
    { container: 'container_1' },
    { container: { id: 'container_1', skills: [] } },
    { messages: [{ role: 'user', content: file }] },
  ]) {
    app.sent.length = 0;
    expect((await app.post('/v1/messages', { ...ASK, ...more })).status).toBe(529);
    expect(placesOf(app)).toEqual(['east']);
  }
  // A container that is yet to be made can be made anywhere.
  expect((await app.post('/v1/messages', { ...ASK, container: { skills: [] } })).status).toBe(200);
});

describe('models and token counts', () => {
  test('sends a model to the upstream that serves it, under that upstream’s model id', async () => {
    const app = edge([
      { name: 'east', models: [HAIKU] },
      { name: 'west', models: { [MODEL]: 'opus-there' } },
    ]);
    const response = await app.post('/v1/messages', ASK);
    expect([response.status, response.headers.get('sluice-upstream')]).toEqual([200, 'west']);
    expect(JSON.parse(app.sent[0]?.text ?? '')).toMatchObject({ ...ASK, model: 'opus-there' });
    expect((await rowsOf(app))[0]).toMatchObject({ model: MODEL, cost_usd: 0.0024, upstream: 'west' });
    const none = await app.post('/v1/messages', { ...ASK, model: 'claude-sonnet-5-5' });
    const { type, message } = await readError(none);
    expect([none.status, type]).toEqual([404, 'not_found_error']);
    expect(message).toContain('claude-sonnet-5-5');
    expect(app.sent).toHaveLength(1);
  });

  test('sends a token count to an upstream that supports it, or returns a 400 that names such an upstream', async () => {
    const counts = (sent: SentRequest) =>
      sent.url.pathname.endsWith('count_tokens') ? Response.json({ input_tokens: 7 }) : answered(sent);
    const app = edge([
      { name: 'east', count: false },
      { name: 'west', models: [MODEL] },
    ]);
    says = { east: counts, west: counts };
    const { max_tokens: _, ...prompt } = ASK;
    expect(await (await app.post('/count-tokens', prompt)).json()).toMatchObject({ input_tokens: 7 });
    expect(placesOf(app)).toEqual(['west']);
    const none = await app.post('/count-tokens', { ...prompt, model: HAIKU });
    expect(none.status).toBe(400);
    expect((await readError(none)).message).toMatch(/token counts.*west/);
  });

  test('an admission’s token count skips an upstream that just hung, and counts a file where it is stored', async () => {
    const limits = { usd_per_day: 0.02, min_output_tokens: 200 };
    const app = edge(TWO, { DEFAULT_LIMITS: JSON.stringify(limits) });
    const missing = (sent: SentRequest) =>
      sent.text.includes('file_1') ? refusal(404, 'not_found_error')() : answered(sent);
    says.east = withoutCounts(missing);
    says.west = withoutCounts(answered, () => Response.json({ input_tokens: 9 }));
    const placesOfCounts = () => app.sent.splice(0).filter(isCountRequest).map(nameIn);
    const long = { ...ASK, messages: [{ role: 'user', content: 'x'.repeat(2_500) }] };
    const end = shortenCountTimeout();
    expect((await app.post('/v1/messages', long)).status).toBe(200);
    expect(placesOfCounts()).toEqual(['east']);
    end();
    expect((await app.post('/v1/messages', long)).status).toBe(200);
    expect(placesOfCounts()).toEqual(['west']);
    advanceClock(61_000);
    says.east = withoutCounts(missing, refusal(404, 'not_found_error'));
    await getAccountStub(env as unknown as Bindings, {}, 'dev').recordCreatedResources([
      { kind: 'file', id: 'file_1', upstream: 'west' },
    ]);
    const source = { type: 'file', file_id: 'file_1' };
    const file = { ...ASK, messages: [{ role: 'user', content: [{ type: 'document', source }] }] };
    expect((await app.post('/v1/messages', file)).status).toBe(200);
    expect(placesOfCounts()).toEqual(['west']);
    const count = { model: file.model, messages: file.messages };
    expect((await app.post('/v1/messages/count_tokens', count)).status).toBe(200);
    expect(placesOfCounts()).toEqual(['west']);
  });

  test('prices a request by its upstream, and holds the highest price of all eligible upstreams', async () => {
    const factors = fc.integer({ min: 1, max: 400 }).map((hundredths) => hundredths / 100);
    await tryAsyncCases(caseCount(20), factors, factors, fc.boolean(), async (first, second, fails) => {
      const app = edge([
        { name: 'east', price_factor: first },
        { name: 'west', price_factor: second },
      ]);
      says = fails ? { east: refusal(529, 'overloaded_error') } : {};
      expect((await app.post('/v1/messages', ASK)).status).toBe(200);
      const [row] = await rowsOf(app);
      const factor = fails ? second : first;
      // $4 and $20 for a million tokens; a price has three decimals, and is rounded up.
      const price = (usd: number) => Math.ceil(Number((usd * factor * 1_000).toFixed(6)));
      expect(row?.cost_usd).toBeCloseTo((100 * price(4) + 100 * price(20)) / 1e9, 12);
      const [plain] = await (async () => {
        const other = edge([{ name: 'east', price_factor: Math.max(first, second) }]);
        await other.post('/v1/messages', ASK);
        return await rowsOf(other);
      })();
      expect(row?.hold_usd).toBe(plain?.hold_usd);
    });
  });

  test('uses the fallback models of an account’s limits when the budget does not cover the request', async () => {
    const limits = { usd_per_day: 0.003, min_output_tokens: 200, on_shortfall: 'refuse' };
    const app = edge([{ name: 'east' }], {
      DEFAULT_LIMITS: JSON.stringify({ ...limits, fallback_models: ['claude-sonnet-5-5', HAIKU] }),
    });
    const response = await app.post('/v1/messages', { ...ASK, max_tokens: 300 });
    expect(response.status).toBe(200);
    expect(response.headers.get('sluice-fallback-from')).toBe(MODEL);
    expect((JSON.parse(app.sent.at(-1)?.text ?? '') as { model: string }).model).toBe(HAIKU);
    const none = await app.post('/v1/messages', { ...ASK, max_tokens: 300 }, { 'sluice-fallback-models': '' });
    expect(none.status).toBe(429);
  });

  test('uses the fallback models of a prefix, also in a conversation', async () => {
    const app = edge([{ name: 'east', models: [MODEL, HAIKU] }]);
    says.east = (sent) => {
      if (sent.url.pathname.endsWith('count_tokens')) return Response.json({ input_tokens: 9 });
      return sent.text.includes(MODEL) ? refusal(529, 'overloaded_error')() : answered(sent);
    };
    const put = await app.fetch('/prefixes/support', {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ system: 'You are kind.', fallback_models: [HAIKU] }),
    });
    expect(put.status).toBe(200);
    for (const more of [{}, { conversation: `prefixed-${counter}` }]) {
      const response = await app.post('/v1/messages', { ...ASK, prefix: 'support', ...more });
      expect([response.status, response.headers.get('sluice-fallback-from')]).toEqual([200, MODEL]);
      expect(((await response.json()) as { model: string }).model).toBe(HAIKU);
    }
  });

  test('lists the upstreams, ids and prices of each model', async () => {
    const app = edge([
      { name: 'east', models: { [MODEL]: 'opus-there' }, price_factor: 1.1 },
      { name: 'west', models: [MODEL, HAIKU] },
    ]);
    const listed = { type: 'model', id: MODEL, display_name: 'Opus', created_at: '2026-10-01T00:00:00Z' };
    const list = () => Response.json({ data: [listed], has_more: false, first_id: MODEL, last_id: MODEL });
    says = { east: list, west: list };
    const { data } = (await (await app.fetch('/models')).json()) as { data: Record<string, unknown>[] };
    expect(data.map(({ id }) => id)).toEqual([MODEL, HAIKU]);
    expect(data[0]).toMatchObject({
      ...listed,
      prices: { input: 4.4, output: 22 },
      upstreams: [
        { name: 'east', id: 'opus-there', prices: { input: 4.4, output: 22 } },
        { name: 'west', id: MODEL, prices: { input: 4, output: 20 } },
      ],
    });
    expect(data[1]).toMatchObject({ id: HAIKU, upstreams: [{ name: 'west', id: HAIKU }] });
    expect(await (await app.fetch(`/models/${HAIKU}`)).json()).toMatchObject({
      id: HAIKU,
      upstreams: [{ name: 'west' }],
    });
    expect((await app.fetch('/models/claude-sonnet-5-5')).status).toBe(404);
  });

  test('lists configured models and logs the failure if no upstream responds, except for a rejected key', async () => {
    const refused: string[] = [];
    for (const [name, failure] of Object.entries(FAILURES)) {
      const app = edge([{ name: 'east', models: [MODEL] }]);
      says.east = failure;
      const response = await app.fetch('/models');
      const { data } = (await response.json()) as { data?: { id: string }[] };
      await app.waitUntilSettled();
      const { status } = response;
      expect(app.log.at(-1)).toMatchObject({ route: '/models', status, error_type: expect.any(String) });
      if (app.log.at(-1)?.error_type !== 'upstream_auth')
        expect(
          data?.map(({ id }) => id),
          name,
        ).toEqual([MODEL]);
      else if (status === 500) refused.push(name);
    }
    expect(refused).toEqual([
      'a refused key',
      'a 403 about the key',
      'a 403 that does not say whose it is',
      'no money',
      'no credit',
    ]);
  });

  test('uses a fallback model only if the account may use it', async () => {
    const app = edge([{ name: 'east' }], { DEFAULT_LIMITS: JSON.stringify({ models: [MODEL] }) });
    says.east = refusal(529, 'overloaded_error');
    const response = await app.post('/v1/messages', ASK, { 'sluice-fallback-models': HAIKU });
    expect(response.status).toBe(529);
    expect(placesOf(app)).toEqual(['east']);
    expect((await rowsOf(app)).map(({ status, cost_usd }) => [status, cost_usd])).toEqual([['retried', 0]]);
  });

  test('tries and charges the requested model despite its open breaker if no fallback model is admitted', async () => {
    const app = edge([{ name: 'east' }], {
      DEFAULT_LIMITS: JSON.stringify({ models: [MODEL], concurrent_requests: 1 }),
      SIGNING_SECRET: SECRET,
    });
    says.east = refusal(529, 'overloaded_error');
    for (let nth = 0; nth < 5; nth += 1) await app.post('/v1/messages', ASK);
    // The breaker is open now.
    says = {};
    for (const more of [{}, { conversation: `open${counter}` }]) {
      app.sent.length = 0;
      const fallbacks = { 'sluice-fallback-models': `claude-nobody, ${HAIKU}` };
      const response = await app.post('/v1/messages', { ...ASK, ...more }, fallbacks);
      expect([response.status, app.sent.length]).toEqual([200, 1]);
      expect(response.headers.get('sluice-fallback-from')).toBe(null);
      expect(await response.json()).toMatchObject({ model: MODEL });
      const [last, before] = await rowsOf(app);
      expect([last?.status, last?.model, before?.status, before?.cost_usd]).toEqual(['complete', MODEL, 'retried', 0]);
      expect(last?.cost_usd).toBeGreaterThan(0);
      says.east = refusal(529, 'overloaded_error');
      await app.post('/v1/messages', ASK);
      says = {};
    }
  });

  test('returns the upstream’s error if the budget is gone when no fallback model is admitted', async () => {
    const limits = JSON.stringify({ models: [MODEL] });
    const app = edge([{ name: 'east' }], { DEFAULT_LIMITS: limits, UPSTREAM_MAX_RETRIES: '1' });
    says.east = async () => {
      const body = JSON.stringify({ models: [MODEL], usd_per_day: 0 });
      const headers = { 'content-type': 'application/json' };
      expect((await app.fetch('/accounts/dev/limits', { method: 'PUT', body, headers })).status).toBe(200);
      return refusal(529, 'overloaded_error')();
    };
    const response = await app.post('/v1/messages', ASK, { 'sluice-fallback-models': HAIKU });
    expect([response.status, (await readError(response)).type]).toEqual([529, 'overloaded_error']);
    expect(placesOf(app)).toEqual(['east']);
    expect((await rowsOf(app)).map(({ status, cost_usd }) => [status, cost_usd])).toEqual([['retried', 0]]);
  });

  const busyBut =
    (...models: string[]) =>
    (sent: SentRequest) =>
      models.includes(String(JSON.parse(sent.text).model)) ? answered(sent) : refusal(529, 'overloaded_error')();
  const sentTo = (app: TestApp, model: string) =>
    app.sent.map(({ text }) => JSON.parse(text)).filter((body) => body.model === model);
  const THINKING = '{ "type": "adaptive",  "display": "summarized" }';

  test.each(['alone', 'in a conversation'])('adapts thinking and effort to a fallback model: %s', async (where) => {
    const app = edge([{ name: 'east' }]);
    says.east = busyBut('claude-haiku-4-5');
    const more = where === 'alone' ? '' : `"conversation": "taken${counter}", `;
    const effort = '{ "effort": "xhigh",  "format": null }';
    const body = `{${more}"thinking": ${THINKING}, "output_config": ${effort}, ${JSON.stringify(ASK).slice(1)}`;
    const headers = { 'content-type': 'application/json', 'sluice-fallback-models': `${HAIKU}, claude-haiku-4-5` };
    const response = await app.fetch('/v1/messages', { method: 'POST', headers, body });
    expect([response.status, response.headers.get('sluice-fallback-from')]).toEqual([200, MODEL]);
    await response.text();
    // The model that was named gets every byte of it.
    for (const { text } of app.sent.filter((sent) => sent.text.includes(MODEL))) {
      expect(text).toContain(`"thinking": ${THINKING}, "output_config": ${effort}`);
    }
    expect(sentTo(app, MODEL)).not.toEqual([]);
    const asked = { ...ASK, thinking: JSON.parse(THINKING), output_config: JSON.parse(effort) };
    expect(sentTo(app, HAIKU)[0]).toMatchObject({ ...asked, model: HAIKU });
    const [last] = sentTo(app, 'claude-haiku-4-5');
    expect(last).toMatchObject({
      ...ASK,
      model: 'claude-haiku-4-5',
      thinking: { type: 'enabled', display: 'summarized', budget_tokens: 3_840 },
      output_config: { format: null },
    });
    expect(last.output_config).not.toHaveProperty('effort');
    expect((await rowsOf(app))[0]).toMatchObject({ model: 'claude-haiku-4-5-20251001', status: 'complete' });
  });

  test('continues a tool loop with the fallback model that began it, with thinking adapted to it', async () => {
    const app = edge([{ name: 'east' }]);
    const model = 'claude-haiku-4-5';
    says.east = (sent) => {
      if (!sent.text.includes(model)) return refusal(529, 'overloaded_error')();
      if (sent.text.includes('tool_result')) return answered(sent);
      const thought = contentBlock({ type: 'thinking', thinking: 'Hm.', signature: 'sig' });
      const call = contentBlock({ type: 'tool_use', id: 'toolu_1', name: 'find', input: {} }, [], 1);
      return sseResponse(
        createBody([messageStart({ model, usage: USAGE }) + thought + call + messageEnd(USAGE, 'tool_use')]),
      );
    };
    const asked = {
      ...ASK,
      conversation: `loop${counter}`,
      thinking: { type: 'adaptive' },
      tools: [{ name: 'find', input_schema: { type: 'object' } }],
    };
    const headers = { 'sluice-fallback-models': model };
    const first = await app.post('/v1/messages', asked, headers);
    expect(first.headers.get('sluice-fallback-from')).toBe(MODEL);
    await first.text();
    const result = { type: 'tool_result', tool_use_id: 'toolu_1', content: 'There.' };
    const messages = [{ role: 'user', content: [result] }];
    const second = await app.post('/v1/messages', { ...asked, messages }, headers);
    expect([second.status, await second.json()]).toMatchObject([200, { model }]);
    const bodies = sentTo(app, model);
    // As much as the model that was asked for thinks by default.
    const budget = { type: 'enabled', budget_tokens: 2_048 };
    expect(bodies.map(({ thinking }) => thinking)).toEqual([budget, budget]);
    expect(bodies[1].messages.at(-1)).toMatchObject({ role: 'user', content: [result] });
  });

  test('skips unsuitable fallback models, and returns the requested model’s error if none remain', async () => {
    const app = edge([{ name: 'east' }]);
    const body = { ...ASK, model: HAIKU, tools: [], tool_choice: { type: 'any' } };
    says.east = busyBut('claude-opus-4-8');
    const passed = `claude-sonnet-5-5, ${MODEL}`;
    const response = await app.post('/v1/messages', body, { 'sluice-fallback-models': `${passed}, claude-opus-4-8` });
    expect(await response.json()).toMatchObject({ model: 'claude-opus-4-8' });
    expect([...new Set(app.sent.map(({ text }) => JSON.parse(text).model))]).toEqual([HAIKU, 'claude-opus-4-8']);
    const none = await app.post('/v1/messages', body, { 'sluice-fallback-models': passed });
    expect(none.status).toBe(529);
    const short = { ...ASK, model: 'claude-haiku-4-5', max_tokens: 300 };
    says.east = busyBut(MODEL);
    const fallbacks = { 'sluice-fallback-models': MODEL };
    expect((await app.post('/v1/messages', short, fallbacks)).status).toBe(529);
    expect((await app.post('/v1/messages', { ...short, max_tokens: 2_048 }, fallbacks)).status).toBe(200);
  });

  test('returns a 400 for too many fallback models', async () => {
    const app = edge(TWO);
    const header = { 'sluice-fallback-models': 'a,b,c,d,e,f' };
    const response = await app.post('/v1/messages', ASK, header);
    expect([response.status, app.sent.length]).toEqual([400, 0]);
  });
});

test('caller errors in a conversation do not open the breaker', async () => {
  const app = edge(TWO, { SIGNING_SECRET: SECRET });
  says.east = refusal(400, 'invalid_request_error');
  for (let nth = 0; nth < 12; nth += 1) {
    const response = await app.post('/messages', { ...ASK, conversation: `bad${counter}-${nth}` });
    expect([nth, response.status, placesOf(app).at(-1)]).toEqual([nth, 400, 'east']);
    await response.text();
  }
  says = {};
  const other = await app.post('/v1/messages', ASK, bearerHeader(await createToken(`well-${counter}`)));
  expect(other.headers.get('sluice-upstream')).toBe('east');
});

test('charges a response that breaks after its headers, because it may have run', async () => {
  for (const more of [{}, { stream: true }]) {
    await resetAll();
    const app = edge(TWO);
    const type = 'stream' in more ? 'text/event-stream' : 'application/json';
    says.east = () => new Response(createBody([]), { headers: { 'content-type': type } });
    const response = await app.post('/v1/messages', { ...ASK, ...more });
    const streams = 'stream' in more;
    expect([response.status, response.headers.get('sluice-upstream')]).toEqual(streams ? [200, 'west'] : [500, null]);
    await response.text();
    const rows = await rowsOf(app);
    expect(rows.map(({ upstream, status }) => [upstream, status])).toEqual(
      streams ? WEST_AFTER_EAST : [['east', 'cut']],
    );
    expect(rows.at(-1)?.cost_usd).toBeGreaterThan(0);
  }
});

test('an upstream that repeatedly returns a short retry-after gets no more requests after a while', async () => {
  const app = edge(TWO, { SIGNING_SECRET: SECRET });
  says.east = refusal(429, 'rate_limit_error', { 'retry-after-ms': '5' });
  for (let nth = 0; nth < 6; nth += 1) {
    const response = await app.post('/v1/messages', ASK, bearerHeader(await createToken(`short-${counter}-${nth}`)));
    expect(response.headers.get('sluice-upstream')).toBe('west');
  }
  app.sent.length = 0;
  await app.post('/v1/messages', ASK, bearerHeader(await createToken(`short-${counter}-last`)));
  expect(placesOf(app)).toEqual(['west']);
});

test('a request with a container does not fail over to another upstream, even with a fallback model', async () => {
  const app = edge([{ name: 'east', models: [MODEL] }, { name: 'west' }]);
  const conversation = `owned${counter}`;
  expect((await app.post('/v1/messages', { ...ASK, conversation })).headers.get('sluice-upstream')).toBe('east');
  says.east = refusal(529, 'overloaded_error');
  await makeThings('east');
  app.sent.length = 0;
  const response = await app.post(
    '/v1/messages',
    { ...ASK, conversation, container: 'container_1' },
    { 'sluice-fallback-models': HAIKU },
  );
  expect([response.status, new Set(placesOf(app))]).toEqual([529, new Set(['east'])]);
});

test('returns the requested model’s error if no upstream serves the fallback model', async () => {
  const app = edge(TWO.map((one) => ({ ...one, models: [MODEL] })));
  says = { east: refusal(529, 'overloaded_error'), west: refusal(529, 'overloaded_error') };
  const response = await app.post('/v1/messages', ASK, { 'sluice-fallback-models': HAIKU });
  expect([response.status, (await readError(response)).type]).toEqual([529, 'overloaded_error']);
});

describe('a token count', () => {
  test.each(Object.keys(FAILURES))('goes to the next upstream after %s', async (failure) => {
    const app = edge(TWO);
    says = { east: FAILURES[failure] ?? answered, west: () => Response.json({ input_tokens: 7 }) };
    const { model, messages } = ASK;
    const response = await app.post('/v1/messages/count_tokens', { model, messages });
    expect([response.status, await response.json()]).toEqual([200, expect.objectContaining({ input_tokens: 7 })]);
    expect(placesOf(app).at(-1)).toBe('west');
    expect(await rowsOf(app)).toEqual([]);
  });
});

test('returns the shortest retry-after of several rate-limited upstreams', async () => {
  const limited = (seconds: number) => refusal(429, 'rate_limit_error', { 'retry-after': String(seconds) });
  for (const [first, second] of [
    [60, 20],
    [20, 60],
  ] as const) {
    const app = edge(TWO);
    says = { east: limited(first), west: limited(second) };
    const response = await app.post('/v1/messages', ASK);
    expect([response.status, response.headers.get('retry-after')]).toEqual([429, '20']);
    expect(response.headers.get('sluice-limited-by')).toBe('upstream');
  }
});

test('continues a conversation at another upstream after its upstream was removed from the settings', async () => {
  const conversation = `moved${counter}`;
  const before = edge([{ name: 'north' }]);
  expect((await before.post('/messages', { ...ASK, conversation })).headers.get('sluice-upstream')).toBe('north');
  await before.waitUntilSettled();
  // Made when there was one upstream only, which has no name.
  await makeThings('');
  const after = edge(TWO);
  for (const more of [{}, { container: 'container_1' }]) {
    const response = await after.post('/v1/messages', { ...ASK, ...more, conversation });
    expect([response.status, response.headers.get('sluice-upstream')]).toEqual([200, 'east']);
    await response.text();
  }
  expect(JSON.parse(after.sent.at(-1)?.text ?? '')).toMatchObject({ messages: { length: 5 } });
});

test('an upstream with a rejected key is used again after the key was replaced', async () => {
  const app = edge([{ name: 'east' }], { UPSTREAM_EAST_KEY: 'key-east' });
  says.east = refusal(401, 'authentication_error');
  expect((await app.post('/v1/messages', ASK)).status).toBe(500);
  // The same list, so that what is known of its upstreams stands; the new key takes the old one's place.
  says.east = answered;
  expect((await app.post('/v1/messages', ASK)).status).toBe(200);
});

describe('the concurrency slots of an upstream', () => {
  const health = async (app: TestApp) => {
    const { upstreams } = (await (await app.fetch('/health?upstreams')).json()) as {
      upstreams: { name: string; running: number }[];
    };
    return upstreams.map(({ running }) => running);
  };

  test('are all free after many requests that are aborted at any point', async () => {
    await tryAsyncCases(
      caseCount(40),
      fc.array(
        fc.record({
          way: fc.constantFrom(...Object.keys(WAYS)),
          after: fc.constantFrom(undefined, 0, 1, 5, 20, 60),
          stops: fc.boolean(),
          mood: fc.constantFrom('well', 'slow', 'hangs', 'breaks', 'busy', 'silent'),
        }),
        { minLength: 5, maxLength: 20 },
      ),
      async (storm) => {
        // A silence comes to its end.
        startClock();
        const app = edge(
          TWO.map((one) => ({ ...one, max_concurrent: 3, first_byte_ms: 40 })),
          { STREAM_IDLE_MS: '200', UPSTREAM_TIMEOUT_MS: '400' },
        );
        const moods: Record<string, string> = {};
        const play = async (sent: SentRequest): Promise<Response> => {
          const mood = moods[/storm (\d+)/.exec(sent.text)?.[1] ?? ''] ?? 'well';
          if (mood === 'busy') return refusal(529, 'overloaded_error')();
          if (mood === 'hangs') return await hangingAnswer(sent.signal);
          if (mood === 'slow') await yieldToEventLoop(10);
          const begun = streamOf(MODEL).slice(0, 300);
          if (mood === 'breaks') return sseResponse(createBody([begun], 'cut'));
          if (mood === 'silent') return sseResponse(silentBody(begun, sent.signal));
          return answered(sent);
        };
        says = { east: play, west: play };
        await Promise.all(
          storm.map(async ({ way, after, mood, stops }, nth) => {
            moods[String(nth)] = mood;
            const messages = [{ role: 'user', content: `storm ${nth} ` }];
            const [path, body] = WAYS[way]?.({ messages }) ?? ['', {}];
            const conversation = `storm${counter}-${nth}`;
            const own = 'conversation' in body ? { conversation } : {};
            const controller = new AbortController();
            const init = {
              method: 'POST',
              headers: { 'content-type': 'application/json' },
              signal: controller.signal,
            };
            const asked = app
              .fetch(path, { ...init, body: JSON.stringify({ ...body, input: `storm ${nth} `, ...own }) })
              .then((response) => response.text())
              .catch(() => '');
            if (after !== undefined) {
              await yieldToEventLoop(after);
              if (stops && 'conversation' in body) {
                await app.fetch(`/conversations/${conversation}/stop`, { method: 'POST' });
              } else controller.abort();
            }
            // Who has left reads no more: what becomes of the answer, the checks below tell.
            if (!controller.signal.aborted) await asked;
          }),
        );
        await expect.poll(() => health(app)).toEqual([0, 0]);
        // A place is free before the settlement has arrived.
        await expect.poll(async () => (await rowsOf(app)).filter(({ status }) => status === 'held')).toEqual([]);
      },
    );
  });

  test('are tracked under one model for 150 unknown model names', async () => {
    const app = edge(TWO, { DEFAULT_LIMITS: '' });
    for (let nth = 0; nth < 150; nth += 1) {
      const response = await app.post('/v1/messages', {
        ...ASK,
        model: `claude-${nth}-${'x'.repeat(nth % 3 ? 5 : 5_000)}`,
      });
      expect(response.status).toBe(200);
    }
    const { upstreams } = (await (await app.fetch('/health?upstreams')).json()) as {
      upstreams: { models: unknown[] }[];
    };
    expect(upstreams.map(({ models }) => models.length)).toEqual([1, 1]);
  });
});

test('a hanging probe delays no other request, and the next probe is sent when it is due', async () => {
  const app = edge([{ name: 'east', first_byte_ms: LATE_MS }, { name: 'west' }], { SIGNING_SECRET: SECRET });
  let asked = 0;
  const ask = async () => {
    asked += 1;
    const response = await app.post('/messages', ASK, bearerHeader(await createToken(`probe${counter}-${asked}`)));
    await response.text();
    return response.headers.get('sluice-upstream');
  };
  says.east = refusal(529, 'overloaded_error');
  for (let nth = 0; nth < 5; nth += 1) expect(await ask()).toBe('west');
  says.east = () => new Promise<Response>(() => {});
  app.sent.length = 0;
  // It is half open after a second: one of all these requests is its probe.
  advanceClock(OPEN_MS);
  expect(await Promise.all([ask(), ask(), ask()])).toEqual(['west', 'west', 'west']);
  expect(placesOf(app).filter((place) => place === 'east')).toHaveLength(1);
  says.east = answered;
  advanceClock(3 * OPEN_MS);
  expect(await ask()).toBe('east');
});

test('a probe whose caller disconnects is replaced by the next request immediately', async () => {
  const app = edge(TWO, { SIGNING_SECRET: SECRET });
  says.east = refusal(529, 'overloaded_error');
  for (let nth = 0; nth < 5; nth += 1)
    await app.post('/v1/messages', ASK, bearerHeader(await createToken(`gone${counter}-${nth}`)));
  const probing = Promise.withResolvers<void>();
  says.east = () => {
    probing.resolve();
    return new Promise<Response>(() => {});
  };
  app.sent.length = 0;
  advanceClock(OPEN_MS);
  const controller = new AbortController();
  const body = JSON.stringify(ASK);
  const headers = { 'content-type': 'application/json', ...bearerHeader(await createToken(`gone${counter}-probe`)) };
  const asking = app.fetch('/v1/messages', { method: 'POST', headers, body, signal: controller.signal });
  const ended = asking.catch(() => null);
  await probing.promise;
  controller.abort();
  await ended;
  expect(placesOf(app)).toEqual(['east']);
  says.east = answered;
  const next = await app.post('/v1/messages', ASK, bearerHeader(await createToken(`gone${counter}-next`)));
  expect(next.headers.get('sluice-upstream')).toBe('east');
});

describe('an error response of an upstream', () => {
  const BOUND = 65_536;
  /** Letters of two bytes: a bound of bytes falls into one of them. */
  const refusalOf = (length: number) =>
    `{"type":"error","error":{"type":"invalid_request_error","message":"x${'ü'.repeat(length)}"}}`;

  test.each([1, BOUND / 2 - 40, BOUND / 2 - 20, BOUND, 5 * BOUND])(
    'is relayed whole if the caller caused it: %d letters',
    async (length) => {
      const text = refusalOf(length);
      const bytes = new TextEncoder().encode(text);
      for (const announced of [{}, { 'content-length': String(bytes.length) }] as Record<string, string>[]) {
        const app = edge(TWO);
        const headers = { 'content-type': 'application/json', ...announced };
        says.east = () => new Response(createBody([text]), { status: 400, headers });
        const response = await app.post('/v1/messages', ASK);
        expect(response.status).toBe(400);
        expect(await response.text()).toBe(text);
        expect(response.headers.get('content-length') ?? String(bytes.length)).toBe(String(bytes.length));
        expect(placesOf(app)).toEqual(['east']);
      }
    },
  );

  test('is cancelled if another upstream responds', async () => {
    const app = edge(TWO);
    const cancelled = vi.fn();
    const endless = () =>
      new ReadableStream({
        type: 'bytes',
        pull: (c) => c.enqueue(new Uint8Array(BOUND)),
        cancel: cancelled,
      });
    says.east = () => new Response(endless(), { status: 529 });
    expect((await app.post('/v1/messages', ASK)).headers.get('sluice-upstream')).toBe('west');
    expect(cancelled).toHaveBeenCalledTimes(1);
  });
});
