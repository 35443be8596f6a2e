import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, test, vi } from 'vitest';
import { ModelTable } from '#edge/claude/models/models.ts';
import { computeMaximumCost } from '#edge/claude/pricing/maximum-cost.ts';
import { computeTextTokenUpperBound } from '#edge/claude/pricing/token-upper-bound.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { Account } from '#edge/money/account/account.ts';
import type { LedgerRow } from '#edge/money/account/usage-answers.schema.ts';
import type { Limits } from '#edge/money/budget/limits.schema.ts';
import { createBody, createTestApp, readError, type SentRequest } from '#test/support/app.ts';
import { advanceClock, setClockToNoon, stopClock } from '#test/support/calendar.ts';
import { eventually } from '#test/support/eventually.ts';
import { ERROR_BODIES, gatewayError } from '#test/support/foreign-gateway/errors.ts';
import {
  COUNT_NOT_SUPPORTED,
  isCountRequest,
  shortenCountTimeout,
  withoutCounts,
} from '#test/support/foreign-gateway/hanging-count.ts';
import { forgetDeadWorker } from '#test/support/pending-work.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import {
  blockEnd,
  messageEnd,
  sseEvent,
  sseResponse,
  messageStart as startOf,
  textDelta as text,
  messageWith as wholeMessage,
} from '#test/support/wire.ts';
import { yieldToEventLoop } from '#test/support/yield-to-event-loop.ts';

const bindings = env as unknown as Bindings;

setClockToNoon();
const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

// Claude Haiku 4.5: $1, $5, $1.25, $2 and $0.10 for a million tokens; a token is a thousand nanodollars, and so on.
const PRICE = { input: 1_000, output: 5_000, write5m: 1_250, write1h: 2_000, read: 100 };
const HAIKU = 'claude-haiku-4-5-20251001';
const ASK = {
  model: HAIKU,
  max_tokens: 1_000,
  stream: false,
  messages: [{ role: 'user', content: 'Tell me about sluices.' }],
};
const usd = (nanodollars: number) => nanodollars / 1e9;

const message = (usage: object = {}, more: object = {}) =>
  wholeMessage({ model: HAIKU, usage: { input_tokens: 20, output_tokens: 30, ...usage }, ...more });
const start = (usage: object = {}) =>
  startOf({ model: HAIKU, usage: { input_tokens: 20, output_tokens: 1, ...usage } });
const block = (content_block: object = { type: 'text', text: '' }) =>
  sseEvent('content_block_start', { index: 0, content_block });
const ending = (usage: object) => blockEnd() + messageEnd(usage);
const refusal = (type: string, status: number, headers: Record<string, string> = {}) =>
  Response.json({ type: 'error', error: { type, message: 'no' } }, { status, headers });

/** The account's binding with something between it and its callers. */
function between(around: (stub: DurableObjectStub<Account>) => object): Pick<Bindings, 'ACCOUNT'> {
  const { ACCOUNT } = bindings;
  const namespace = {
    idFromName: (name: string) => ACCOUNT.idFromName(name),
    get(id: DurableObjectId) {
      const stub = ACCOUNT.get(id);
      const changed = around(stub);
      return new Proxy(stub, {
        get: (target, name) => (name in changed ? changed[name as keyof typeof changed] : Reflect.get(target, name)),
      });
    },
  };
  return { ACCOUNT: namespace as unknown as Bindings['ACCOUNT'] };
}

/** Tokens that may be on their way: a quarter of a second at 500 tokens a second. */
const IN_FLIGHT = 125;

let accounts = 0;

/** An account of its own that asks a deployed edge, and what its object says of it. */
function caller(answer: (sent: SentRequest) => Response | Promise<Response>, limits: Limits = {}, vars: object = {}) {
  const account = `account-${++accounts}`;
  const app = createTestApp(answer, {
    ...DEPLOYED_VARS,
    UPSTREAM_MAX_RETRIES: '0',
    DEFAULT_LIMITS: JSON.stringify(limits),
    ...vars,
  });
  const object = () => getAccountStub(bindings, {}, account);
  const ask = async (body: unknown = ASK, init: { path?: string; headers?: object; signal?: AbortSignal } = {}) => {
    const { path = '/v1/messages', headers = {}, signal } = init;
    return await app.fetch(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...bearerHeader(await createToken(account)), ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
      ...(signal ? { signal } : {}),
    });
  };
  /** The only row, at rest. */
  const row = async (): Promise<LedgerRow> => {
    await app.waitUntilSettled();
    const { data } = await object().listRequests({});
    const [only] = data;
    if (!only || data.length !== 1) throw new Error(`${data.length} rows`);
    const { day, running_requests } = await object().getQuotaReport();
    expect({ held: day.held_usd, running_requests }).toEqual({ held: 0, running_requests: 0 });
    expect(day.settled_usd).toBe(only.cost_usd);
    return only;
  };
  return { account, app, object, ask, row };
}

function worstOf(body: object) {
  return computeMaximumCost(body as Record<string, unknown>, {
    bytes: JSON.stringify(body).length,
    models: new ModelTable(),
  });
}

/** What a request sets aside: the worst case of its body. */
function holdOf(body: object): number {
  const { inputCost, outputTokens, outputPrice } = worstOf(body).maximumCost;
  return usd(inputCost + outputTokens * outputPrice);
}

/** @returns the most tokens of a text block that broke off: its frame, its characters, what was on its way. */
function tokensOf(said: string): number {
  return Math.ceil(4 + computeTextTokenUpperBound(said)) + IN_FLIGHT;
}

describe('a complete response', () => {
  test('is settled by its usage of each kind, and reports its cost', async () => {
    const usage = {
      input_tokens: 20,
      output_tokens: 30,
      cache_read_input_tokens: 40,
      cache_creation_input_tokens: 60,
      cache_creation: { ephemeral_5m_input_tokens: 50, ephemeral_1h_input_tokens: 10 },
      output_tokens_details: { thinking_tokens: 7 },
    };
    const { ask, row } = caller(() => Response.json(message(usage), { headers: { 'request-id': 'req_up' } }));
    const response = await ask();
    const cost = 20 * PRICE.input + 30 * PRICE.output + 40 * PRICE.read + 50 * PRICE.write5m + 10 * PRICE.write1h;
    expect(response.headers.get('sluice-cost-usd')).toBe('0.0002565');
    expect(usd(cost)).toBe(0.0002565);
    expect(await row()).toMatchObject({
      request_id: response.headers.get('sluice-request-id'),
      route: 'messages',
      model: HAIKU,
      answered_by: HAIKU,
      status: 'complete',
      max_tokens: 1_000,
      hold_usd: holdOf(ASK),
      cost_usd: usd(cost),
      usage: {
        input_tokens: 20,
        output_tokens: 30,
        cache_read_input_tokens: 40,
        cache_write_5m_input_tokens: 50,
        cache_write_1h_input_tokens: 10,
        thinking_tokens: 7,
        web_search_requests: 0,
      },
      estimated: false,
      over_hold: false,
      unpriced: false,
      stop_reason: 'end_turn',
      upstream_request_id: 'req_up',
      error_type: null,
    });
  });

  test('is settled the same as a stream, with the cost after the last event', async () => {
    const stream = start() + block() + text('Hello') + ending({ output_tokens: 30 });
    const { ask, row, app } = caller(() => sseResponse(createBody([stream])));
    const response = await ask(ASK, { path: '/messages', headers: { 'sluice-stream-cost': 'true' } });
    expect(response.headers.has('sluice-cost-usd')).toBe(false);
    expect(await response.text()).toBe(`${stream}: sluice-cost-usd=0.00017\n`);
    expect(await row()).toMatchObject({ status: 'complete', cost_usd: 0.00017, estimated: false });
    expect(app.log.at(-1)).toMatchObject({ cost_usd: 0.00017, status: 200 });
  });

  test('contains the account’s quota headers, but not the upstream’s rate limit headers', async () => {
    const upstream = { 'anthropic-ratelimit-requests-limit': '4000', 'anthropic-ratelimit-unified-status': 'rejected' };
    const answer = () => Response.json(message({ output_tokens: 1_000 }), { headers: upstream });
    const { ask, app } = caller(answer, { usd_per_day: 0.02 });
    // What is settled counts, not what is held.
    for (const utilization of ['0.00', '0.25']) {
      const { headers } = await ask();
      expect(headers.get('anthropic-ratelimit-unified-status')).toBe('allowed');
      expect(headers.get('anthropic-ratelimit-unified-overage-utilization')).toBe(utilization);
      expect(headers.has('anthropic-ratelimit-requests-limit')).toBe(false);
      expect(headers.has('sluice-max-tokens')).toBe(false);
      await app.waitUntilSettled();
    }
  });

  test('of an unknown model is priced at the highest prices and marked as unpriced', async () => {
    const { ask, row } = caller(() => Response.json(message({}, { model: 'claude-of-the-future' })));
    await ask({ ...ASK, model: 'claude-of-the-future' });
    // $10 and $50 for a million tokens.
    expect(await row()).toMatchObject({ unpriced: true, cost_usd: usd(20 * 10_000 + 30 * 50_000), over_hold: false });
  });

  test('of an unknown snapshot is priced as the requested model', async () => {
    const { ask, row } = caller(() => Response.json(message({}, { model: 'claude-haiku-5-5-20261015' })));
    await ask({ ...ASK, model: 'claude-haiku-5-5' });
    expect(await row()).toMatchObject({
      model: 'claude-haiku-5-5',
      answered_by: 'claude-haiku-5-5-20261015',
      cost_usd: usd(20 * 100 + 30 * 500),
      over_hold: false,
    });
  });

  test('of an allowed fallback is priced as that model', async () => {
    const { ask, row } = caller(() => Response.json(message({}, { model: 'claude-opus-5-5' })));
    await ask({ ...ASK, fallbacks: [{ model: 'claude-opus-5-5' }] });
    expect(await row()).toMatchObject({ cost_usd: usd(20 * 4_000 + 30 * 20_000), over_hold: false });
  });

  test('without usage is settled at its hold', async () => {
    const { ask, row } = caller(() => Response.json(message({}, { usage: undefined })));
    await ask();
    expect(await row()).toMatchObject({ status: 'complete', estimated: true, cost_usd: holdOf(ASK) });
  });

  test('that costs more than its hold is settled in full and marked, and the next request is rejected', async () => {
    const limits = { usd_per_day: 0.01 };
    const { ask, row, app } = caller(() => Response.json(message({ output_tokens: 3_000 })), limits);
    expect((await ask()).status).toBe(200);
    expect(await row()).toMatchObject({ over_hold: true, cost_usd: usd(20 * PRICE.input + 3_000 * PRICE.output) });
    const refused = await ask();
    expect({ status: refused.status, ...(await readError(refused)) }).toMatchObject({
      status: 429,
      type: 'billing_error',
    });
    expect(app.sent).toHaveLength(1);
  });

  test('with server tools is held by their steps, and settled with its searches', async () => {
    const body = { ...ASK, tools: [{ type: 'web_search_20250305', name: 'web_search', max_uses: 2 }] };
    const usage = { input_tokens: 9_000, server_tool_use: { web_search_requests: 2, web_fetch_requests: 0 } };
    const { ask, row, app } = caller(() => Response.json(message(usage)));
    await ask(body);
    const { hold_usd, ...settled } = await row();
    expect(settled).toMatchObject({
      cost_usd: usd(9_000 * PRICE.input + 30 * PRICE.output + 2 * 10_000_000),
      usage: { web_search_requests: 2 },
      over_hold: false,
    });
    // The first prompt, two steps with the whole window, every token of the answer in each, and two searches.
    expect(hold_usd).toBe(holdOf(body));
    const later = 2 * 200_000 * PRICE.input + 3 * 1_000 * PRICE.output + 2 * 10_000_000;
    expect(hold_usd).toBeGreaterThan(usd(later));
    expect(hold_usd).toBeLessThan(usd(later * 1.1 + 10_000 * PRICE.input));
    expect(app.sent).toHaveLength(1);
  });

  test('is admitted and priced by the deployment’s aliases and prices', async () => {
    const vars = {
      MODEL_ALIASES: '{"fast":"claude-of-ours"}',
      PRICES: JSON.stringify({
        'claude-of-ours': {
          prices: { input: 7, output: 70, cache_write_5m: 7, cache_write_1h: 7, cache_read: 7 },
        },
      }),
    };
    const limits = { models: ['fast'] };
    const { ask, row, app } = caller(() => Response.json(message({}, { model: 'claude-of-ours' })), limits, vars);
    expect((await ask({ ...ASK, model: 'fast' })).status).toBe(200);
    expect(JSON.parse(app.sent[0]?.text ?? '')).toEqual({ ...ASK, model: 'claude-of-ours' });
    expect(await row()).toMatchObject({ unpriced: false, cost_usd: usd(20 * 7_000 + 30 * 70_000) });
    const refused = await ask();
    expect({ status: refused.status, ...(await readError(refused)) }).toMatchObject({
      status: 404,
      type: 'not_found_error',
    });
    expect(refused.headers.get('sluice-limited-by')).toBe('account');
  });

  test('is priced as the responding model, even if an alias maps that name to another model', async () => {
    const vars = { MODEL_ALIASES: '{"claude-haiku-5-5":"claude-opus-5-5","claude-opus-5-5":"claude-haiku-5-5"}' };
    const { ask, row, app } = caller(() => Response.json(message({}, { model: 'claude-opus-5-5' })), {}, vars);
    await ask({ ...ASK, model: 'claude-haiku-5-5' });
    expect(JSON.parse(app.sent[0]?.text ?? '')).toMatchObject({ model: 'claude-opus-5-5' });
    expect(await row()).toMatchObject({
      model: 'claude-opus-5-5',
      cost_usd: usd(20 * 4_000 + 30 * 20_000),
      over_hold: false,
    });
  });
});

test('holds a fallback at the price of its own model, not of an alias with that name', async () => {
  const vars = { MODEL_ALIASES: '{"claude-opus-5-5":"claude-haiku-5-5"}' };
  const fallbacks = [{ model: 'claude-opus-5-5' }];
  const answer = () => Response.json(message({ output_tokens: 900 }, { model: 'claude-opus-5-5' }));
  const { ask, row } = caller(answer, {}, vars);
  await ask({ ...ASK, max_tokens: 1_000, fallbacks });
  expect(await row()).toMatchObject({ cost_usd: usd(20 * 4_000 + 900 * 20_000), over_hold: false });
});

describe('an interrupted response', () => {
  // So long that the clock, by which unseen tokens are estimated, does not decide on a slow machine.
  const long = 'é'.repeat(200);
  const begun = start({ cache_read_input_tokens: 40 }) + block() + text(long);
  const input = 20 * PRICE.input + 40 * PRICE.read;

  const seen = tokensOf(long);

  test('with a cut connection is settled at its input and the upper bound of the observed tokens', async () => {
    stopClock();
    const { ask, row } = caller(() => sseResponse(createBody([begun], 'cut')));
    await (await ask({ ...ASK, stream: true })).text();
    expect(await row()).toMatchObject({
      status: 'cut',
      estimated: true,
      cost_usd: usd(input + seen * PRICE.output),
      usage: { input_tokens: 20, cache_read_input_tokens: 40, output_tokens: seen },
    });
  });

  test('that fell silent is settled at its input and observed tokens', async () => {
    stopClock();
    const silent = ({ signal }: SentRequest) =>
      new ReadableStream({
        type: 'bytes',
        start(controller) {
          controller.enqueue(new TextEncoder().encode(begun));
          signal?.addEventListener('abort', () => controller.error(signal.reason));
        },
      });
    const { ask, row } = caller((sent) => sseResponse(silent(sent)), {}, { STREAM_IDLE_MS: '100' });
    const answer = await ask({ ...ASK, stream: true });
    advanceClock(100);
    await answer.text();
    expect(await row()).toMatchObject({
      status: 'silent',
      estimated: true,
      cost_usd: usd(input + seen * PRICE.output),
    });
  });

  test('with an error event is settled at its input and observed tokens, with the reason in its row', async () => {
    stopClock();
    const error = sseEvent('error', { error: { type: 'overloaded_error', message: 'Overloaded' } });
    const { ask, row } = caller(() => sseResponse(createBody([begun, error])));
    await (await ask({ ...ASK, stream: true })).text();
    expect(await row()).toMatchObject({
      status: 'error',
      error_type: 'overloaded_error',
      estimated: true,
      cost_usd: usd(input + seen * PRICE.output),
    });
  });

  test('with an error as the first event of its stream is free', async () => {
    const error = sseEvent('error', { error: { type: 'overloaded_error', message: 'Overloaded' } });
    const { ask, row } = caller(() => sseResponse(createBody([error])));
    await (await ask({ ...ASK, stream: true })).text();
    expect(await row()).toMatchObject({ status: 'refused_upstream', error_type: 'overloaded_error', cost_usd: 0 });
  });

  test('is settled at the usage that the upstream reported, if that exceeds the observed tokens', async () => {
    stopClock();
    const told = sseEvent('message_delta', { delta: {}, usage: { output_tokens: 900 } });
    const { ask, row } = caller(() => sseResponse(createBody([begun + told], 'cut')));
    await (await ask({ ...ASK, stream: true })).text();
    expect(await row()).toMatchObject({ estimated: true, cost_usd: usd(input + 900 * PRICE.output) });
  });

  test('is settled at its final usage, if that was received', async () => {
    const told = sseEvent('message_delta', { delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 40 } });
    const { ask, row } = caller(() => sseResponse(createBody([begun + told], 'cut')));
    await (await ask({ ...ASK, stream: true })).text();
    expect(await row()).toMatchObject({ estimated: false, cost_usd: usd(input + 40 * PRICE.output) });
  });

  test('with hidden thinking is settled by the clock, up to max_tokens', async () => {
    const hidden = start() + block({ type: 'thinking', thinking: '', signature: '' });
    const { ask, row } = caller(() => sseResponse(createBody([hidden], 'cut')));
    const before = Date.now();
    await (await ask({ ...ASK, max_tokens: 32_000, stream: true })).text();
    const { cost_usd, estimated } = await row();
    const ms = (cost_usd - usd(20 * PRICE.input)) / usd(PRICE.output / 2);
    expect(estimated).toBe(true);
    expect(ms).toBeGreaterThanOrEqual(249);
    expect(ms).toBeLessThanOrEqual(Date.now() - before + 252);
    const short = caller(() => sseResponse(createBody([hidden], 'cut')));
    await (await short.ask({ ...ASK, max_tokens: 100, stream: true })).text();
    expect(await short.row()).toMatchObject({ cost_usd: usd(20 * PRICE.input + 100 * PRICE.output) });
  });

  test('never costs more than max_tokens allow', async () => {
    const body = { ...ASK, max_tokens: 10, stream: true };
    const { ask, row } = caller(() => sseResponse(createBody([start() + block() + text('x'.repeat(9_000))], 'cut')));
    await (await ask(body)).text();
    const cost_usd = usd(20 * PRICE.input + 10 * PRICE.output);
    expect(await row()).toMatchObject({ estimated: true, over_hold: false, cost_usd, usage: { output_tokens: 10 } });
  });

  test('without a first event is settled at the input’s maximum cost and by the clock', async () => {
    const body = { ...ASK, max_tokens: 32_000, stream: true };
    const { ask, row } = caller(() => sseResponse(createBody([], 'cut')));
    const before = Date.now();
    await (await ask(body)).text();
    const { status, estimated, cost_usd } = await row();
    expect({ status, estimated }).toEqual({ status: 'cut', estimated: true });
    const { inputCost } = worstOf(body).maximumCost;
    const most = Math.ceil((Date.now() - before) / 2) + 1 + IN_FLIGHT;
    expect(cost_usd).toBeGreaterThanOrEqual(usd(inputCost + IN_FLIGHT * PRICE.output));
    // A tenth for a geography that nobody has told.
    expect(cost_usd).toBeLessThanOrEqual(usd(inputCost + most * PRICE.output * 1.1));
    const small = caller(() => sseResponse(createBody([], 'cut')));
    await (await small.ask({ ...ASK, max_tokens: 10, stream: true })).text();
    expect((await small.row()).cost_usd).toBeLessThanOrEqual(holdOf({ ...ASK, max_tokens: 10, stream: true }));
  });

  test('with a JSON body returns 500 and is settled at its hold', async () => {
    const { ask, row } = caller(
      () =>
        new Response(createBody(['{"type":"message","usage":{"inp'], 'cut'), {
          headers: { 'content-type': 'application/json' },
        }),
    );
    expect((await ask()).status).toBe(500);
    expect(await row()).toMatchObject({ status: 'cut', estimated: true, cost_usd: holdOf(ASK) });
  });
});

test('reports the cost of all tries together, each of which is settled separately', async () => {
  let tries = 0;
  const { now } = Date;
  // Each try takes longer than a connection takes to fail: it may have run.
  vi.spyOn(Date, 'now').mockImplementation(() => now() + 80 * tries);
  const answer = () => {
    tries += 1;
    if (tries === 3) return sseResponse(start() + block() + text('Hi') + ending({ output_tokens: 30 }));
    return new Response('<html>', { status: 502, headers: { 'retry-after-ms': '1' } });
  };
  const { app, object, ask } = caller(answer, {}, { UPSTREAM_MAX_RETRIES: '2' });
  const response = await ask(
    { ...ASK, max_tokens: 16_000, stream: true },
    { headers: { 'sluice-stream-cost': 'true' } },
  );
  const [, price] = /sluice-cost-usd=([\d.]+)/.exec(await response.text()) ?? [];
  await app.waitUntilSettled();
  const { data } = await object().listRequests({});
  expect(data.map(({ status }) => status)).toEqual(['complete', 'retried', 'retried']);
  const costs = data.map(({ cost_usd }) => cost_usd);
  expect(Math.min(...costs)).toBeGreaterThan(0);
  const sum = costs.reduce((total, cost) => total + cost, 0);
  expect(Number(price)).toBeCloseTo(sum, 9);
});

describe('a caller that disconnects or whose upstream does', () => {
  test('before anything is sent pays nothing', async () => {
    const { ask, row, app } = caller(() => Response.json(message()));
    await ask(ASK, { signal: AbortSignal.abort() }).catch(() => undefined);
    expect(app.sent).toEqual([]);
    expect(await row()).toMatchObject({ status: 'client_gone', cost_usd: 0 });
  });

  /** An upstream whose answer begins once its caller has left. */
  async function leaving(body: { stream: boolean }, vars: object = {}): Promise<LedgerRow> {
    const controller = new AbortController();
    const begun = Promise.withResolvers<void>();
    const { ask, row, app } = caller(
      async () => {
        if (!body.stream) return await new Promise<Response>(() => {});
        await begun.promise;
        return sseResponse(createBody([start()], 'silence'));
      },
      {},
      vars,
    );
    const asked = ask(body, { signal: controller.signal }).catch(() => undefined);
    await expect.poll(() => app.sent.length).toBe(1);
    controller.abort();
    await asked;
    begun.resolve();
    const left = await row();
    expect(left).toMatchObject({ status: 'client_gone', estimated: true });
    return left;
  }

  const stopping = (cancel_stops: string) => ({
    UPSTREAMS: JSON.stringify([{ name: 'own', kind: 'anthropic', cancel_stops }]),
    UPSTREAM_OWN_KEY: 'sk-ant-of-own',
  });

  test('before a non-streaming response pays its hold, or less if the upstream stops on disconnection', async () => {
    expect(await leaving(ASK)).toMatchObject({ cost_usd: holdOf(ASK) });
    const body = { ...ASK, max_tokens: 32_000 };
    expect((await leaving(body, stopping('always'))).cost_usd).toBeLessThan(holdOf(body) / 5);
  });

  test('before a stream’s first event pays the beginning of the response, or the hold if generation continues', async () => {
    const body = { ...ASK, max_tokens: 32_000, stream: true };
    expect((await leaving(body)).cost_usd).toBeLessThan(holdOf(body) / 5);
    expect(await leaving(body, stopping('never'))).toMatchObject({ cost_usd: holdOf(body) });
  });

  test.each([0, 1])(
    'after a connection reset by the upstream pays the prompt of each try, counted once, with %i retries',
    async (retries) => {
      let counts = 0;
      const tokens = 20_000;
      const upstream = (sent: SentRequest) => {
        if (isCountRequest(sent)) {
          counts += 1;
          return Response.json({ input_tokens: tokens });
        }
        // It takes longer than a connection takes to fail: it may have run.
        advanceClock(80);
        throw new Error('connection reset');
      };
      const { ask, app, object } = caller(upstream, {}, { UPSTREAM_MAX_RETRIES: String(retries) });
      const body = {
        ...ASK,
        stream: true,
        max_tokens: 32_000,
        messages: [{ role: 'user', content: 'word '.repeat(tokens) }],
      };
      expect((await ask(body)).ok).toBe(false);
      await app.waitUntilSettled();
      const { data } = await object().listRequests({});
      expect(data).toHaveLength(retries + 1);
      expect(counts).toBe(1);
      for (const { cost_usd } of data) {
        expect(cost_usd).toBeGreaterThanOrEqual(usd(tokens * PRICE.input));
        expect(cost_usd).toBeLessThanOrEqual(usd(1.25 * tokens * PRICE.input));
      }
    },
  );

  test('during a stream pays the input and the output until then', async () => {
    const encoder = new TextEncoder();
    let pieces = [start() + block() + text('x'.repeat(60))];
    const endless = new ReadableStream({
      type: 'bytes',
      async pull(stream) {
        const [piece = sseEvent('ping'), ...rest] = pieces;
        pieces = rest;
        await yieldToEventLoop();
        stream.enqueue(encoder.encode(piece));
      },
    });
    stopClock();
    const controller = new AbortController();
    const { ask, row } = caller(() => sseResponse(endless));
    const response = await ask({ ...ASK, stream: true }, { signal: controller.signal });
    const reader = response.body?.getReader();
    await reader?.read();
    controller.abort();
    await reader?.cancel();
    expect(await row()).toMatchObject({
      status: 'client_gone',
      estimated: true,
      cost_usd: usd(20 * PRICE.input + tokensOf('x'.repeat(60)) * PRICE.output),
    });
  });
});

describe('a request that the upstream does not accept', () => {
  test.each([
    [400, 'invalid_request_error'],
    [404, 'not_found_error'],
    [413, 'request_too_large'],
    [429, 'rate_limit_error'],
    [500, 'api_error'],
    [529, 'overloaded_error'],
    [401, 'authentication_error'],
    [403, 'permission_error'],
  ])('is free and has a row when the upstream returns %d', async (status, type) => {
    const { ask, row } = caller(() => refusal(type, status), { usd_per_day: 1 });
    const response = await ask();
    expect(response.status).toBe(status === 401 ? 500 : status);
    expect(response.headers.has('sluice-cost-usd')).toBe(false);
    expect(await row()).toMatchObject({ status: 'refused_upstream', cost_usd: 0, estimated: false });
  });

  test('is free if the upstream is unreachable', async () => {
    const { ask, row } = caller(() => Promise.reject(new Error('connection refused')));
    expect((await ask()).status).toBe(500);
    expect(await row()).toMatchObject({ status: 'unreachable', cost_usd: 0 });
  });

  test('is settled at its hold after a timeout', async () => {
    const { ask, row } = caller(() => new Promise(() => {}), {}, { UPSTREAM_TIMEOUT_MS: '50' });
    expect((await ask()).status).toBe(504);
    expect(await row()).toMatchObject({ estimated: true, cost_usd: holdOf(ASK) });
  });

  test('returns sluice-limited-by: upstream for the upstream’s rate limit', async () => {
    const { ask } = caller(() => refusal('rate_limit_error', 429, { 'retry-after': '60' }), { usd_per_day: 1 });
    const { headers } = await ask();
    expect(headers.get('sluice-limited-by')).toBe('upstream');
    expect(headers.get('anthropic-ratelimit-unified-status')).toBe('allowed');
  });
});

describe('a request that does not fit by its size', () => {
  const long = { ...ASK, max_tokens: 300, messages: [{ role: 'user', content: 'x'.repeat(20_000) }] };
  const counting = (count: () => Response | Promise<Response>) => (sent: SentRequest) =>
    sent.url.pathname.endsWith('/count_tokens') ? count() : Response.json(message());

  test('is counted once, with only the fields that count_tokens supports, and then admitted', async () => {
    const { ask, row, app } = caller(
      counting(() => Response.json({ input_tokens: 2_500 })),
      { usd_per_day: 0.02 },
    );
    const body = { ...long, metadata: { user_id: 'x' }, temperature: 1, thinking: { type: 'disabled' } };
    const asked = await ask(body, { headers: { 'anthropic-beta': 'a-beta', 'idempotency-key': 'once' } });
    expect(asked.status).toBe(200);
    expect(app.sent.map(({ url }) => url.pathname)).toEqual(['/v1/messages/count_tokens', '/v1/messages']);
    const [count] = app.sent;
    const { model, messages, thinking } = body;
    expect(JSON.parse(count?.text ?? '')).toEqual({ model, messages, thinking });
    expect(count?.headers.get('anthropic-beta')).toBe('a-beta');
    expect(count?.headers.has('idempotency-key')).toBe(false);
    expect(count?.headers.has('authorization')).toBe(false);
    // Two percent, at least 64, and a tenth for a geography that the workspace may set.
    expect((await row()).hold_usd).toBe(usd(2_564 * 1_100 + 300 * 5_500));
  });

  test('is not counted if the budget covers its size', async () => {
    const { ask, app } = caller(
      counting(() => Response.json({ input_tokens: 1 })),
      { usd_per_day: 1 },
    );
    await ask(long);
    expect(app.sent).toHaveLength(1);
  });

  test('is not counted if no count can help', async () => {
    const { ask, app } = caller(
      counting(() => Response.json({ input_tokens: 1 })),
      { usd_per_day: 0.000001 },
    );
    expect((await ask(long)).status).toBe(429);
    expect(app.sent).toHaveLength(0);
  });

  test('is rejected without a row if it does not fit after the count', async () => {
    const { ask, app, object } = caller(
      counting(() => Response.json({ input_tokens: 19_000 })),
      { usd_per_day: 0.02 },
    );
    expect((await ask(long)).status).toBe(429);
    expect(app.sent).toHaveLength(1);
    expect((await object().listRequests({})).data).toEqual([]);
  });

  test.each([
    ['refuses', () => refusal('invalid_request_error', 400)],
    ['does not say a number', () => Response.json({ input_tokens: 'many' })],
    ['says less than nothing', () => Response.json({ input_tokens: -5_000 })],
    ['says a fraction', () => Response.json({ input_tokens: 10.5 })],
    ['answers null', () => Response.json(null)],
    ['answers a page', () => new Response('<html>')],
  ])('is held at the whole context window if its count %s', async (_, count) => {
    const poor = caller(counting(count), { usd_per_day: 0.02 });
    expect((await poor.ask(long)).status).toBe(429);
    expect(poor.app.sent).toHaveLength(1);
    // A file has no bytes here: it is counted, or it is a window.
    const source = { type: 'file', file_id: 'file_1' };
    const file = { ...ASK, messages: [{ role: 'user', content: [{ type: 'document', source }] }] };
    const own = { kind: 'file', id: 'file_1', upstream: '' } as const;
    const window = 200_000 * 1_100 + 256 * 5_500;
    const rich = caller(counting(count), { usd_per_day: usd(window) });
    await rich.object().recordCreatedResources([own]);
    const { headers } = await rich.ask({ ...file, max_tokens: 64_000 });
    expect(rich.app.sent).toHaveLength(2);
    expect(headers.get('sluice-max-tokens')).toBe('256');
    const short = caller(counting(count), { usd_per_day: usd(window - 1) });
    await short.object().recordCreatedResources([own]);
    expect((await short.ask({ ...file, max_tokens: 64_000 })).status).toBe(429);
  });

  test('may be sent again if its count was limited by the upstream', async () => {
    const { ask, object } = caller(
      counting(() => refusal('rate_limit_error', 429)),
      { usd_per_day: 0.02 },
    );
    const response = await ask(long);
    expect(response.status).toBe(429);
    expect(response.headers.get('sluice-limited-by')).toBe('upstream');
    expect(response.headers.has('x-should-retry')).toBe(false);
    expect((await object().listRequests({})).data).toEqual([]);
  });

  test.each([400, 413, 422])(
    'is counted again although an earlier count was rejected with %i in any error format',
    async (status) => {
      const page = () => new Response('<html>', { status });
      for (const refused of [
        page,
        ...Object.keys(ERROR_BODIES).map((form) => () => gatewayError(form, 'Bad.', status)),
      ]) {
        const { ask, app } = caller(
          withoutCounts(() => Response.json(message()), refused),
          { usd_per_day: 0.02 },
        );
        for (let time = 1; time < 3; time += 1) {
          expect((await ask(long)).status).toBe(429);
          expect(app.sent.filter(isCountRequest)).toHaveLength(time);
        }
      }
    },
  );

  describe.each(COUNT_NOT_SUPPORTED)('whose count %s', (_, count) => {
    const answers = withoutCounts(() => Response.json(message()), count);
    const byBytes = 18_000 * 1_100 + 256 * 5_500;
    const body = { ...long, messages: [{ role: 'user', content: 'x'.repeat(17_000) }] };
    const source = { type: 'base64', media_type: 'application/pdf', data: '' };
    const pdf = { ...ASK, messages: [{ role: 'user', content: [{ type: 'document', source }] }] };

    test('is held by its size, and counted again two seconds later', async () => {
      stopClock();
      shortenCountTimeout();
      const { ask, app, object } = caller(answers, { usd_per_day: usd(byBytes) });
      const counts = () => app.sent.filter(isCountRequest).length;
      for (const [waitMs, counted] of [
        [0, 1],
        [1_999, 1],
        [1, 2],
      ] as const) {
        advanceClock(waitMs);
        expect((await ask(body)).status).toBe(200);
        expect(counts()).toBe(counted);
        await app.waitUntilSettled();
      }
      const [row] = (await object().listRequests({})).data;
      expect(row?.hold_usd).toBeGreaterThan(usd(17_000 * 1_100));
    });

    test('is rejected with a message that it could not be counted', async () => {
      shortenCountTimeout();
      const poor = caller(answers, { usd_per_day: 0.01 });
      for (let time = 0; time < 2; time += 1) {
        const refused = await poor.ask(body);
        expect(refused.status).toBe(429);
        expect((await readError(refused)).message).toMatch(/Send a shorter request, .* could not count/);
      }
      expect(poor.app.sent).toHaveLength(1);
      // A PDF is counted, or it is a window: no shorter one helps.
      const short = caller(answers, { usd_per_day: 0.1 });
      const { message: words } = await readError(await short.ask(pdf));
      expect(words).toMatch(/cost up to \$0\.22.* a block that the upstream cannot count.* could not count/);
      expect(words).not.toContain('shorter');
      const tokens = caller(answers, { input_tokens_per_minute: 1_000 });
      expect((await readError(await tokens.ask(body))).message).toMatch(/input_tokens_per_minute.* could not count/);
    });
  });
});

describe('a request with a higher maximum cost than the remaining budget', () => {
  // Bytes that a parser would change, and `max_tokens` in other places than its own.
  const before = '{ "model":"claude-haiku-4-5-20251001","metadata":{"max_tokens" : 128000},\n "max_tokens" : ';
  const after =
    ',"messages":[{"role":"user","content":"\\u0041 \\"max_tokens\\":128000"}],"stream":false, "x":1e0,"y":[{"max_tokens":1}] }';
  const whole = `${before}128000${after}`;
  const counted = ({ url }: SentRequest) =>
    Response.json(url.pathname.endsWith('count_tokens') ? { input_tokens: 36 } : message());

  test('is sent with only max_tokens lowered, and the response reports it', async () => {
    const { ask, row, app } = caller(counted, { usd_per_day: 0.05 });
    const { headers } = await ask(whole);
    const lowered = headers.get('sluice-max-tokens');
    expect(app.sent.at(-1)?.text).toBe(before + lowered + after);
    expect(Number(lowered)).toBeGreaterThan(4_000);
    const midnight = new Date(Math.ceil((Date.now() + 1) / DAY) * DAY).toISOString();
    const by = `account; limit=usd_per_day; resets=${midnight}`;
    expect(headers.get('sluice-lowered-by')).toBe(by);
    expect(headers.get('sluice-limited-by')).toBeNull();
    expect(app.log.at(-1)).toMatchObject({ status: 200, lowered_by: by });
    const { max_tokens, hold_usd } = await row();
    expect(max_tokens).toBe(Number(lowered));
    expect(hold_usd).toBeLessThanOrEqual(0.025);
    // One token more would be more than half of what is free.
    expect(hold_usd + usd(5_500)).toBeGreaterThan(0.025);
  });

  test('returns no reset time for a total limit, and no header if nothing was lowered', async () => {
    const { ask, app } = caller(counted, { usd_total: 0.05 });
    expect((await ask(whole)).headers.get('sluice-lowered-by')).toBe('account; limit=usd_total');
    expect((await ask(ASK)).headers.get('sluice-lowered-by')).toBeNull();
    expect(app.log.at(-1)).not.toHaveProperty('lowered_by');
    const poor = caller(counted, { usd_total: usd(1) });
    const refused = await poor.ask(whole);
    expect([refused.status, refused.headers.get('sluice-lowered-by')]).toEqual([429, null]);
    expect(poor.app.log.at(-1)).not.toHaveProperty('lowered_by');
  });

  test('is rejected with on_shortfall: refuse', async () => {
    const { ask, app } = caller(counted, { usd_per_day: 0.05, on_shortfall: 'refuse' });
    expect((await ask(whole)).status).toBe(429);
    expect(app.sent.filter(({ url }) => url.pathname === '/v1/messages')).toEqual([]);
  });

  test('is lowered to min_output_tokens and no further', async () => {
    // The count and its margin are a hundred tokens.
    const input = 100 * 1_100;
    for (const [left, status] of [
      [500 * 5_500, 200],
      [500 * 5_500 - 1, 429],
    ] as const) {
      const { ask } = caller(counted, { usd_per_day: usd(input + left), min_output_tokens: 500 });
      const response = await ask();
      expect(response.status).toBe(status);
      if (status === 200) expect(response.headers.get('sluice-max-tokens')).toBe('500');
    }
  });

  test('is never lowered below the thinking budget plus 256 tokens of text', async () => {
    const thinking = { type: 'enabled', budget_tokens: 5_000 };
    const body = { ...ASK, max_tokens: 20_000, thinking };
    // The count and its margin are a hundred tokens.
    const enough = caller(counted, { usd_per_day: usd(100 * 1_100 + 5_256 * 5_500) });
    const { headers } = await enough.ask(body);
    expect(headers.get('sluice-max-tokens')).toBe('5256');
    const short = caller(counted, { usd_per_day: usd(100 * 1_100 + 5_256 * 5_500 - 1) });
    expect((await short.ask(body)).status).toBe(429);
    expect(short.app.sent.filter(({ url }) => url.pathname === '/v1/messages')).toEqual([]);
  });
});

describe('a search without max_uses that the budget does not cover', () => {
  // A use costs the whole window of 200,000 tokens and a search: about $0.32 with what it may say.
  const tool = '{"type":"web_search_20250305", "name":"web_search","x":1e0}';
  const bodyWith = (tools: string, messages: unknown = ASK.messages) =>
    `{"model":"${HAIKU}","max_tokens":1000,"tools":${tools},"messages":${JSON.stringify(messages)}}`;
  // A whole answer is requested as a stream where so much is at stake.
  const sentAs = (sent: SentRequest | undefined) => sent?.text.replace('"stream":true,', '');
  const sentTools = (text = '') => (JSON.parse(text) as { tools: { max_uses?: number }[] }).tools;

  test('is sent with the max_uses that half of the budget covers, and the response reports it', async () => {
    const { ask, row, app } = caller(() => Response.json(message()), { usd_per_day: 1.5 });
    const { status, headers } = await ask(bodyWith(`[${tool}]`));
    expect(status).toBe(200);
    const midnight = new Date(Math.ceil((Date.now() + 1) / DAY) * DAY).toISOString();
    const by = `account; limit=usd_per_day; resets=${midnight}; max_uses=2`;
    expect(headers.get('sluice-lowered-by')).toBe(by);
    expect(headers.get('sluice-max-tokens')).toBeNull();
    expect(sentAs(app.sent.at(-1))).toBe(bodyWith(`[{"max_uses":2,${tool.slice(1)}]`));
    expect(app.log.at(-1)).toMatchObject({ lowered_by: by });
    const { lowered_by, hold_usd } = await row();
    expect(lowered_by).toEqual({ by: 'account', limit: 'usd_per_day', resets_at: midnight, max_uses: 2 });
    expect(hold_usd).toBeLessThan(1.5 / 2);
  });

  test('is sent with one use if that needs more than half of the budget', async () => {
    const { ask, app } = caller(() => Response.json(message()), { usd_per_day: 0.4 });
    expect((await ask(bodyWith(`[${tool}]`))).status).toBe(200);
    expect(sentTools(app.sent.at(-1)?.text)).toMatchObject([{ max_uses: 1 }]);
  });

  test('is rejected with Retry-After if only another request holds the budget for one use', async () => {
    const opened = Promise.withResolvers<void>();
    const answer = async () => {
      await opened.promise;
      return Response.json(message());
    };
    const { ask, app } = caller(answer, { usd_per_day: 0.4 }, { HOLD_WAIT_MS: '1' });
    const first = ask(bodyWith(`[${tool}]`));
    await eventually(() => expect(app.sent).toHaveLength(1));
    const second = await ask(bodyWith(`[${tool}]`));
    expect({ status: second.status, ...(await readError(second)) }).toMatchObject({
      status: 429,
      type: 'rate_limit_error',
    });
    expect(Number(second.headers.get('retry-after'))).toBeLessThanOrEqual(5);
    opened.resolve();
    expect((await first).status).toBe(200);
    expect((await ask(bodyWith(`[${tool}]`))).status).toBe(200);
  });

  test('is sent unchanged if the budget covers ten steps', async () => {
    const { ask, app, row } = caller(() => Response.json(message()), { usd_per_day: 10 });
    const { headers } = await ask(bodyWith(`[${tool}]`));
    expect(headers.get('sluice-lowered-by')).toBeNull();
    expect(sentAs(app.sent.at(-1))).toBe(bodyWith(`[${tool}]`));
    expect(await row()).toMatchObject({ lowered_by: null });
  });

  test('divides the uses among its tools, and keeps the caller’s max_uses', async () => {
    const fetching = '{"type":"web_fetch_20250910","name":"web_fetch"}';
    const limited = '{"type":"web_search_20250305","name":"other","max_uses":1}';
    const { ask, app } = caller(() => Response.json(message()), { usd_per_day: 2.5 });
    expect((await ask(bodyWith(`[${[tool, fetching, limited]}]`))).status).toBe(200);
    const [first, second, third] = sentTools(app.sent.at(-1)?.text).map(({ max_uses }) => max_uses);
    expect([first, third]).toEqual([second, 1]);
    expect(first).toBeGreaterThanOrEqual(1);
  });

  test.each<[string, tools: string, messages: unknown, limits: Limits, advice: RegExp]>([
    [
      'an answer is among its messages',
      `[${tool}]`,
      [...ASK.messages, { role: 'assistant', content: 'Yes.' }, { role: 'user', content: 'And?' }],
      { usd_per_day: 1.5 },
      /set max_uses to \d or less/,
    ],
    [
      'the account refuses',
      `[${tool}]`,
      ASK.messages,
      { usd_per_day: 1.5, on_shortfall: 'refuse' },
      /lower max_uses|set max_uses to/,
    ],
    ['not even one use fits', `[${tool}]`, ASK.messages, { usd_per_day: 0.2 }, /set max_uses/],
    [
      'another tool is unlimited',
      `[${tool},{"type":"code_execution_20250825","name":"code_execution"}]`,
      ASK.messages,
      { usd_per_day: 1.5 },
      /To reduce the cost of/,
    ],
    [
      'a message adds a tool without max_uses',
      `[${tool}]`,
      [
        {
          role: 'user',
          content: [{ type: 'tool_addition', tool: { type: 'tool_definition', definition: JSON.parse(tool) } }],
        },
      ],
      { usd_per_day: 1.5 },
      /set max_uses/,
    ],
  ])('is rejected if %s', async (_, tools, messages, limits, advice) => {
    const { ask, app } = caller(() => Response.json(message()), limits);
    const refused = await ask(bodyWith(tools, messages));
    expect({ status: refused.status, ...(await readError(refused)) }).toMatchObject({
      status: 429,
      type: 'billing_error',
      message: expect.stringMatching(advice),
    });
    expect(app.sent).toEqual([]);
  });
});

describe('an unusual request body', () => {
  test.each([
    ['3 MB', 'x'.repeat(3_000_000)],
    ['no text', 'x\ud800y'],
    ['a null', 'x\u0000y'],
    ['another script', 'モデル'],
  ])('is forwarded with a model name of %s, and returns the upstream’s response', async (_, model) => {
    const { ask, row } = caller(() => refusal('not_found_error', 404));
    const response = await ask({ ...ASK, model });
    expect(response.status).toBe(404);
    const { model: kept, cost_usd } = await row();
    expect(cost_usd).toBe(0);
    expect(kept.length).toBeLessThan(1_000);
  });
});

describe('POST /v1/messages/count_tokens', () => {
  const COUNT = { model: HAIKU, messages: ASK.messages };

  test('costs nothing, holds nothing, and has a separate limit', async () => {
    const limits = { count_requests_per_minute: 2, usd_per_day: 0, requests_per_minute: 0 };
    const { ask, app, object } = caller(() => Response.json({ input_tokens: 5 }), limits);
    for (const path of ['/count-tokens', '/v1/messages/count_tokens']) {
      const counted = await ask(COUNT, { path });
      expect(counted.status).toBe(200);
      expect(counted.headers.has('sluice-cost-usd')).toBe(false);
    }
    const refused = await ask(COUNT, { path: '/count-tokens' });
    expect({ status: refused.status, ...(await readError(refused)) }).toMatchObject({
      status: 429,
      type: 'rate_limit_error',
    });
    expect(refused.headers.get('sluice-limited-by')).toBe('account');
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(app.sent).toHaveLength(2);
    expect((await object().listRequests({})).data).toEqual([]);
  });
});

describe('a lost call to the account', () => {
  const lost = (retryable: boolean) => Object.assign(new Error('lost'), { retryable });

  test('is repeated, and settles a request once even if its response was lost', async () => {
    let calls = 0;
    const flaky = between((stub) => ({
      async admitJson(ask: string) {
        calls += 1;
        if (calls === 1) throw lost(true);
        return await stub.admitJson(ask);
      },
      async settleJson(settlement: string) {
        calls += 1;
        const settled = await stub.settleJson(settlement);
        if (calls < 6) throw lost(calls % 2 === 0);
        return settled;
      },
    }));
    const { ask, row } = caller(() => Response.json(message()), {}, flaky);
    expect((await ask()).status).toBe(200);
    expect(await row()).toMatchObject({ status: 'complete', cost_usd: usd(20 * PRICE.input + 30 * PRICE.output) });
    expect(calls).toBe(6);
  });

  test('leaves no hold and no cost for a request that was never sent', async () => {
    const mute = between((stub) => ({
      async admitJson(ask: string) {
        await stub.admitJson(ask);
        throw lost(false);
      },
    }));
    const { ask, app, object, row } = caller(() => Response.json(message()), { usd_per_day: 1 }, mute);
    expect((await ask()).status).toBe(503);
    expect(app.sent).toEqual([]);
    await app.waitUntilSettled();
    const { day, running_requests } = await object().getQuotaReport();
    expect({ day, running_requests }).toMatchObject({ day: { held_usd: 0, settled_usd: 0 }, running_requests: 0 });
    expect(await row()).toMatchObject({ status: 'unreachable', cost_usd: 0, route: 'messages' });
  });

  test('settles a retried request once, also if the account is erased meanwhile', async () => {
    let calls = 0;
    const erased = between((stub) => ({
      async settleJson(settlement: string) {
        calls += 1;
        if (calls === 1) await stub.erase();
        const settled = await stub.settleJson(settlement);
        if (calls === 1) throw lost(true);
        return settled;
      },
    }));
    const broken = async () => {
      advanceClock(100);
      throw new Error('Network connection lost.');
    };
    const { ask, app, object } = caller(broken, {}, { ...erased, UPSTREAM_MAX_RETRIES: '1' });
    expect((await ask()).status).toBe(500);
    await app.waitUntilSettled();
    expect(calls).toBeGreaterThan(1);
    expect((await object().listRequests({})).data).toEqual([]);
    const { total } = await object().getUsageReport({ group_by: 'day' });
    expect(total.requests).toBe(1);
    expect((await object().getQuotaReport()).day).toMatchObject({ settled_usd: total.cost_usd, held_usd: 0 });
  });

  test('returns a retryable 503 and sends no request if it fails permanently', async () => {
    const dead = between(() => ({ admitJson: () => Promise.reject(lost(false)) }));
    const { ask, app } = caller(() => Response.json(message()), {}, dead);
    const response = await ask();
    expect({ status: response.status, ...(await readError(response)) }).toMatchObject({
      status: 503,
      type: 'api_error',
    });
    expect(response.headers.get('retry-after')).toBe('1');
    expect(response.headers.has('x-should-retry')).toBe(false);
    expect(app.sent).toEqual([]);
  });
});

describe('a request whose Worker dies', () => {
  const begun = start() + block() + text('Hello');
  const dying = between(() => ({ settleJson: () => new Promise(() => {}) }));

  test.each<[string, (gone: Promise<Response>) => Response | Promise<Response>, boolean]>([
    ['before the upstream answered', (gone) => gone, false],
    ['in the stream', () => sseResponse(createBody([begun], 'silence')), false],
    ['before it was settled', () => sseResponse(createBody([begun + ending({ output_tokens: 3 })])), true],
  ])('%s is settled at its hold after the deadline, with an orphaned row', async (_, answer, whole) => {
    // A Worker that is gone never settles; for the account nothing else can be seen of it.
    const gone = Promise.withResolvers<Response>();
    const { ask, app, object } = caller(() => answer(gone.promise), { usd_per_day: 1 }, dying);
    await wakeLater(object(), 0);
    const asked = ask({ ...ASK, stream: true });
    if (whole) await (await asked).text();
    await expect.poll(() => app.sent.length).toBe(1);
    const hold = holdOf({ ...ASK, stream: true });
    expect((await object().getQuotaReport()).day).toMatchObject({ held_usd: hold, settled_usd: 0 });
    await wakeLater(object(), 2 * MINUTE);
    expect((await object().getQuotaReport()).day).toMatchObject({ held_usd: hold, settled_usd: 0 });
    await wakeLater(object(), 4 * MINUTE);
    const standing = await object().getQuotaReport();
    expect(standing.day).toMatchObject({ held_usd: 0, settled_usd: hold });
    expect(standing.running_requests).toBe(0);
    const [row] = (await object().listRequests({})).data;
    expect(row).toMatchObject({ status: 'orphaned', stage: 'admitted', estimated: true, cost_usd: hold });
    expect(row?.settled_at).not.toBeNull();
    // The isolate of the tests has not died: its request ends, and gives back what it has.
    gone.resolve(sseResponse(createBody([begun + ending({ output_tokens: 3 })])));
    if (!whole) await (await asked).body?.cancel();
    forgetDeadWorker();
  });

  /** Has the alarm come when it is that much later than tomorrow's noon: the day does not end in the meantime. */
  async function wakeLater(stub: DurableObjectStub<Account>, milliseconds: number): Promise<void> {
    const noon = (Math.floor(Date.now() / DAY) + 1.5) * DAY;
    await runInDurableObject(stub, (account: Account) => {
      Object.assign(account, { now: () => noon + milliseconds });
    });
    await runDurableObjectAlarm(stub);
  }
});

describe('the list of accounts', () => {
  test('contains an account after its first request, by two keys that are written once', async () => {
    const put: string[] = [];
    const STORE = {
      put: async (key: string, value: string) => {
        put.push(key);
        await bindings.STORE.put(key, value);
      },
    };
    const { ask, app, account } = caller(() => Response.json(message()), {}, { STORE });
    for (let i = 0; i < 3; i += 1) {
      await ask();
      await app.waitUntilSettled();
    }
    expect(put).toEqual([expect.stringMatching(/^mark:[0-9a-z]{8}$/), `account:${account}`]);
  });
});
