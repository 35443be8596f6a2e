/** Who rides, and what goes up once a stream was refused. In workerd. */
import { describe, expect, test, vi } from 'vitest';
import type { LedgerRow, QuotaReport } from '#edge/money/account/usage-answers.schema.ts';
import { createBody, createTestApp, type SentRequest, type TestApp } from '#test/support/app.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { messageEnd, messageStart, messageWith, splitEvents, sseResponse, textBlock } from '#test/support/wire.ts';

const MODEL = 'claude-opus-5-5';
const HAIKU = 'claude-haiku-5-5';
const ASK = { model: MODEL, max_tokens: 4_096, messages: [{ role: 'user', content: 'What do you know about Paris?' }] };
const LIMITED = { DEFAULT_LIMITS: '{"usd_per_day":1000000}' };
const WHOLE = messageWith({ content: [{ type: 'text', text: ' one two' }] });

const EVENTS = splitEvents(
  messageStart() + textBlock([' one', ' two']) + messageEnd(undefined, { stop_reason: 'end_turn' }),
);

const isRidden = ({ text } = { text: '' }) => /"stream": ?true/.test(text);
const askedOf = ({ text }: SentRequest) => JSON.parse(text) as { model: string; max_tokens: number };
const answered = (sent: SentRequest, events: readonly string[] = EVENTS) =>
  isRidden(sent)
    ? sseResponse(createBody(events), { 'request-id': 'req_up' })
    : Response.json(WHOLE, { headers: { 'request-id': 'req_up' } });
const refusal = (message: string, status = 400, type = 'invalid_request_error') =>
  Response.json({ type: 'error', error: { type, message } }, { status, headers: { 'request-id': 'req_up' } });
/** Writes all that it may. */
const written = (sent: SentRequest) => {
  const { model, max_tokens } = askedOf(sent);
  const usage = { input_tokens: 100, output_tokens: max_tokens };
  return Response.json({ ...WHOLE, model, usage }, { headers: { 'request-id': 'req_up' } });
};

async function rowsOf(app: TestApp): Promise<LedgerRow[]> {
  await app.waitUntilSettled();
  return ((await (await app.fetch('/usage/requests?limit=1000')).json()) as { data: LedgerRow[] }).data;
}

/** Lets every answer of the upstream take so long. */
function slowBy(milliseconds: number): () => void {
  let late = 0;
  const now = Date.now.bind(Date);
  vi.spyOn(Date, 'now').mockImplementation(() => now() + late);
  return () => {
    late += milliseconds;
  };
}

const ONE = {
  UPSTREAMS: JSON.stringify([{ name: 'a', kind: 'anthropic', base_url: 'https://a.example' }]),
  UPSTREAM_A_KEY: 'k1',
  UPSTREAM_MAX_RETRIES: '0',
};

describe('the non-streaming request after a rejected internal stream', () => {
  test('has the max_tokens of the latest admission', async () => {
    const pass = slowBy(4_000);
    let calls = 0;
    const app = createTestApp(
      (sent) => {
        calls += 1;
        if (calls > 1) return isRidden(sent) ? refusal('this gateway takes no stream') : written(sent);
        pass();
        throw new Error('reset');
      },
      { DEFAULT_LIMITS: '{"usd_per_day":0.15}' },
    );
    expect((await app.post('/v1/messages', ASK)).status).toBe(200);
    const [first = 0, ...later] = app.sent.map((sent) => askedOf(sent).max_tokens);
    expect(later).toHaveLength(2);
    expect(new Set(later).size).toBe(1);
    expect(later[0]).toBeLessThan(first);
    for (const { cost_usd, hold_usd } of await rowsOf(app)) expect(cost_usd).toBeLessThanOrEqual(hold_usd);
  });

  test('is for the fallback model, and 20 concurrent requests stay within the limit', async () => {
    const app = createTestApp(
      (sent) => {
        if (!isRidden(sent)) return written(sent);
        return askedOf(sent).model === MODEL
          ? refusal('Overloaded', 529, 'overloaded_error')
          : refusal('stream: not available');
      },
      { ...ONE, DEFAULT_LIMITS: '{"usd_per_day":4}' },
    );
    const ask = { ...ASK, max_tokens: 128_000 };
    const all = Array.from({ length: 20 }, () => app.post('/v1/messages', ask, { 'sluice-fallback-models': HAIKU }));
    const models = await Promise.all(
      (await Promise.all(all)).map(async (one) => ((await one.json()) as { model?: string }).model),
    );
    // Who holds too little does not ride, and Opus answers.
    expect(models).toContain(HAIKU);
    for (const { cost_usd, hold_usd } of await rowsOf(app)) expect(cost_usd).toBeLessThanOrEqual(hold_usd + 1e-9);
    const { day } = (await (await app.fetch('/accounts/dev')).json()) as QuotaReport;
    expect(day.settled_usd).toBeLessThanOrEqual(4);
  });

  test('is not sent if another upstream responds', async () => {
    const app = createTestApp(
      (sent) =>
        sent.url.host === 'a.example'
          ? refusal(`model ${MODEL} is not available for streaming`, 404, 'not_found_error')
          : answered(sent),
      {
        ...LIMITED,
        UPSTREAMS: JSON.stringify(
          ['a', 'b'].map((name) => ({ name, kind: 'anthropic', base_url: `https://${name}.example` })),
        ),
        UPSTREAM_A_KEY: 'k1',
        UPSTREAM_B_KEY: 'k2',
      },
    );
    expect((await app.post('/v1/messages', ASK)).status).toBe(200);
    expect(app.sent.filter(({ url }) => url.host === 'b.example')).toHaveLength(1);
    expect(app.sent.map(isRidden)).toEqual([true, true]);
  });
});

describe('an internal stream', () => {
  test('is still used for other callers after the upstream rejected one caller’s stream', async () => {
    const app = createTestApp(
      (sent) => (isRidden(sent) && sent.text.includes('odd') ? refusal('odd stream') : answered(sent)),
      { ...DEPLOYED_VARS, ...LIMITED },
    );
    const as = async (account: string) => bearerHeader(await createToken(account));
    const odd = { ...ASK, messages: [{ role: 'user', content: 'odd' }] };
    expect((await app.post('/v1/messages', odd, await as('mallory'))).status).toBe(200);
    for (const [account, rides] of [
      ['mallory', false],
      ['alice', true],
    ] as const) {
      await app.post('/v1/messages', ASK, await as(account));
      expect(isRidden(app.sent.at(-1)), account).toBe(rides);
    }
    await app.waitUntilSettled();
  });

  test.each(['code_execution_20260120', 'web_search_20260209', 'web_fetch_20260209'])(
    'is not used with %s, because a stream may not report the container',
    async (type) => {
      const app = createTestApp((sent) => answered(sent), LIMITED);
      const tools = [{ type, name: type.replace(/_\d+$/, '') }];
      const whole = { ...ASK, max_tokens: 100_000, tools };
      expect((await app.post('/v1/messages', whole)).status).toBe(200);
      expect((await app.post('/v1/messages', { ...whole, tools: undefined })).status).toBe(200);
      expect(app.sent.map(isRidden)).toEqual([false, true]);
      await app.waitUntilSettled();
    },
  );

  test('is not used for a request that only warms the cache', async () => {
    const app = createTestApp((sent) => answered(sent), LIMITED);
    const warm = { ...ASK, max_tokens: 0, messages: [{ role: 'user', content: 'x'.repeat(60_000) }] };
    expect((await app.post('/v1/messages', warm)).status).toBe(200);
    expect(app.sent.map(isRidden)).toEqual([false]);
    await app.waitUntilSettled();
  });
});

test('settles an internal stream by its duration, not by the hold, if a proxy times out', async () => {
  const pass = slowBy(300);
  const app = createTestApp(
    () => {
      pass();
      return new Response('<html>gateway timeout</html>', { status: 504, headers: { 'content-type': 'text/html' } });
    },
    { ...LIMITED, UPSTREAM_MAX_RETRIES: '0' },
  );
  expect((await app.post('/v1/messages', { ...ASK, max_tokens: 100_000 })).status).toBe(504);
  const [row] = await rowsOf(app);
  expect(row?.hold_usd).toBeGreaterThan(2);
  expect(row?.cost_usd).toBeGreaterThan(0);
  expect(row?.cost_usd).toBeLessThan(0.1);
});

test.each([
  ['whose events have no names', EVENTS.map((text) => text.replace(/^event: .*\n/, ''))],
  [
    'whose deltas say their type last',
    EVENTS.map((text) =>
      text.replace(/("delta":\{)"type":"text_delta",("text":"[^"]*")\}/, '$1$2,"type":"text_delta"}'),
    ),
  ],
])('a stream %s is assembled like any other', async (_, events) => {
  expect(events).not.toEqual(EVENTS);
  const app = createTestApp((sent) => answered(sent, events), LIMITED);
  const response = await app.post('/v1/messages', ASK);
  expect(await response.json()).toEqual(WHOLE);
  expect(app.sent.map(isRidden)).toEqual([true]);
  await app.waitUntilSettled();
});
