import { env } from 'cloudflare:workers';
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { computeTextTokenUpperBound } from '#edge/claude/pricing/token-upper-bound.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { Limits } from '#edge/money/budget/limits.schema.ts';
import { createSimulator } from '#edge/toolkit/simulator.ts';
import firstPrompt from '#test/fixtures/claude-code/first-prompt.json';
import title from '#test/fixtures/claude-code/title.json';
import { createBody, createTestApp, readError, type SentRequest, TEST_KEY } from '#test/support/app.ts';
import { advanceClock, stopClock } from '#test/support/calendar.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import {
  contentBlock as blockOf,
  messageEnd as final,
  sseEvent,
  sseResponse,
  messageStart as startOf,
  messageWith as wholeMessage,
} from '#test/support/wire.ts';

const bindings = env as unknown as Bindings;
const OPUS = 'claude-opus-5-5';
/** A quarter of a second at 500 tokens a second. */
const IN_FLIGHT = 125;
const ASK = {
  model: OPUS,
  max_tokens: 128_000,
  stream: true,
  messages: [{ role: 'user', content: 'Tell me about sluices.' }],
};

const message = (usage: object) => wholeMessage({ model: OPUS, usage });
const start = (usage: object, model = OPUS) => startOf({ model, usage: { output_tokens: 1, ...usage } });
const block = (index: number, content_block: object, ...deltas: object[]) => blockOf(content_block, deltas, index);
const said = (text: string) => ({ type: 'text_delta', text });

let accounts = 0;

/** An account of its own at a deployed edge, whose upstream answers like this. */
function account(answer: (sent: SentRequest) => Response | Promise<Response>, limits: Limits = {}, vars: object = {}) {
  const id = `books-${++accounts}`;
  const app = createTestApp(answer, {
    ...DEPLOYED_VARS,
    UPSTREAM_MAX_RETRIES: '0',
    DEFAULT_LIMITS: JSON.stringify(limits),
    ...vars,
  });
  const object = () => getAccountStub(bindings, {}, id);
  return {
    app,
    object,
    ask: async (body: object = ASK, init: { path?: string; headers?: object; signal?: AbortSignal } = {}) =>
      await app.fetch(init.path ?? '/v1/messages', {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...init.headers, ...bearerHeader(await createToken(id)) },
        body: JSON.stringify(body),
        ...(init.signal ? { signal: init.signal } : {}),
      }),
    /** The ledger, at rest. */
    rows: async () => {
      await app.waitUntilSettled();
      const { data } = await object().listRequests({ limit: 1_000 });
      const { day, running_requests } = await object().getQuotaReport();
      expect({ held: day.held_usd, running_requests }).toEqual({ held: 0, running_requests: 0 });
      return data;
    },
  };
}

/** Puts the clock of the edge into a test's hands. */
function clock(): { now: number } {
  const virtual = { now: Date.now() };
  vi.spyOn(Date, 'now').mockImplementation(() => virtual.now);
  return virtual;
}

describe('the cost of an interrupted response', () => {
  test('is in sum one to three times the billed cost for 150 cut responses with searches', async () => {
    stopClock();
    const search = { type: 'web_search_20260209', name: 'web_search', max_uses: 8 };
    const results = [
      { type: 'web_search_result', url: 'https://example.com', encrypted_content: 'aB3+'.repeat(2_500) },
    ];
    const step = (index: number) =>
      block(index, { type: 'server_tool_use', id: `srv_${index}`, name: 'web_search', input: {} }) +
      block(index + 1, { type: 'web_search_tool_result', tool_use_id: `srv_${index}`, content: results });
    const PROMPT = 3_000;
    const stream =
      start({ input_tokens: PROMPT }) +
      [0, 2, 4, 6].map(step).join('') +
      block(8, { type: 'text', text: '' }, said('It is so: '));
    // Each search, and each prompt: the first one, with what four searches brought, one after the other.
    const perResult = 5_000;
    const prompts = [0, 1, 2, 3, 4].reduce((sum, round) => sum + PROMPT + round * (perResult + 40), 0);
    const billed = 4 * 10_000_000 + prompts * 4_000 + 200 * 20_000;
    const left = account(() => sseResponse(createBody([stream], 'cut')));
    await Promise.all(
      Array.from({ length: 150 }, async () => {
        const response = await left.ask({ ...ASK, max_tokens: 2_000, tools: [search] });
        await response.text();
      }),
    );
    const rows = await left.rows();
    expect(rows).toHaveLength(150);
    for (const row of rows) expect(row).toMatchObject({ estimated: true, status: 'cut' });
    const booked = rows.reduce((sum, { cost_usd }) => sum + cost_usd, 0);
    expect(booked).toBeGreaterThanOrEqual((150 * billed) / 1e9);
    expect(booked).toBeLessThanOrEqual((3 * 150 * billed) / 1e9);
  });

  test.each([1_000, 32_000, 128_000])(
    'is at most $0.03 above the input’s maximum cost after two seconds, with max_tokens %i',
    async (max_tokens) => {
      const time = clock();
      const leaving = new AbortController();
      const left = account(async () => {
        time.now += 2_000;
        leaving.abort();
        return sseResponse(createBody([start({ input_tokens: 10 })], 'silence'));
      });
      const response = left.ask({ ...ASK, max_tokens }, { signal: leaving.signal });
      await response.catch(() => undefined);
      const [row] = await left.rows();
      const bytes = JSON.stringify({ ...ASK, max_tokens }).length;
      const input = ((bytes + 16 + 256) * 4_400) / 1e9;
      expect(row).toMatchObject({ status: 'client_gone', estimated: true });
      expect(row?.cost_usd).toBeGreaterThan(0);
      expect(row?.cost_usd).toBeLessThanOrEqual(input + 0.03 + 1e-9);
    },
  );

  test.each([
    [8_000, 0, 0.08],
    // Four thousand tokens, and the uses that are left.
    [8_001, 0.16, Number.POSITIVE_INFINITY],
  ])('after a disconnection %i ms into a search is more than $%d and less than $%d', async (silentMs, least, most) => {
    const time = clock();
    const leaving = new AbortController();
    const use = { type: 'server_tool_use', id: 'srv_1', name: 'web_search', input: {} };
    const running = new TextEncoder().encode(start({ input_tokens: 100 }) + block(0, use));
    const left = account(({ signal }) =>
      sseResponse(
        new ReadableStream({
          type: 'bytes',
          start: (body) => {
            body.enqueue(running);
            signal?.addEventListener('abort', () => body.error(signal.reason), { once: true });
          },
        }),
      ),
    );
    const tools = [{ type: 'web_search_20260209', name: 'web_search', max_uses: 8 }];
    const response = await left.ask({ ...ASK, tools }, { signal: leaving.signal });
    const reader = response.body?.getReader();
    await reader?.read();
    time.now += silentMs;
    leaving.abort();
    await reader?.cancel();
    const [row] = await left.rows();
    expect(row).toMatchObject({ status: 'client_gone', estimated: true });
    expect(row?.cost_usd).toBeGreaterThan(least);
    expect(row?.cost_usd).toBeLessThan(most);
  });

  test('equals the billed cost for a response with a fallback', async () => {
    const iterations = [
      { type: 'message', model: null, input_tokens: 1_000, output_tokens: 500 },
      { type: 'fallback_message', model: 'claude-fable-5-1', input_tokens: 1_100, output_tokens: 700 },
    ];
    const body = { ...ASK, model: 'claude-haiku-4-5', fallbacks: [{ model: 'claude-fable-5-1' }] };
    const hop = { type: 'fallback', from: { model: 'claude-haiku-4-5' }, to: { model: 'claude-fable-5-1' } };
    const stream = (usage: object) =>
      start({ input_tokens: 1_000 }, 'claude-haiku-4-5') +
      block(0, hop) +
      block(1, { type: 'text', text: '' }, said('Hello')) +
      final({ input_tokens: 1_100, output_tokens: 700, ...usage });
    const told = account(() => sseResponse(stream({ iterations })));
    await (await told.ask(body)).text();
    const [exact] = await told.rows();
    // 1,000 and 500 at $1 and $5 a million; 1,100 and 700 at $10 and $50.
    expect(exact?.cost_usd).toBeCloseTo((1_000 * 1 + 500 * 5 + 1_100 * 10 + 700 * 50) / 1e6, 9);
    const untold = account(() => sseResponse(stream({})));
    await (await untold.ask(body)).text();
    const [dearest] = await untold.rows();
    expect(dearest?.cost_usd).toBeCloseTo((1_100 * 10 + 700 * 50) / 1e6, 9);
  });

  test('includes a connection reset after sending, and each retry', async () => {
    let tries = 0;
    const broken = account(
      async () => {
        tries += 1;
        advanceClock(80);
        if (tries < 3) throw new Error('Network connection lost.');
        return sseResponse(
          start({ input_tokens: 20 }) + block(0, { type: 'text', text: '' }, said('Hi')) + final({ output_tokens: 5 }),
        );
      },
      { requests_per_minute: 10 },
      { UPSTREAM_MAX_RETRIES: '2' },
    );
    const response = await broken.ask();
    expect(response.status).toBe(200);
    await response.text();
    const rows = await broken.rows();
    const id = response.headers.get('sluice-request-id') ?? '';
    expect(rows.map(({ request_id, status }) => [request_id, status])).toEqual([
      [`${id}.3`, 'complete'],
      [`${id}.2`, 'retried'],
      [id, 'retried'],
    ]);
    for (const row of rows.slice(1)) {
      expect(row.estimated).toBe(true);
      // The prompt, and a third of a second.
      expect(row.cost_usd).toBeGreaterThan(0.003);
      expect(row.cost_usd).toBeLessThan(0.03);
    }
    const request = await broken.object().findRequest(id);
    expect(request?.tries.map(({ request_id }) => request_id)).toEqual([id, `${id}.2`, `${id}.3`]);
    expect((await broken.object().getQuotaReport()).requests?.remaining).toBe(9);
  });

  test('is zero for a refused connection, regardless of retries', async () => {
    const refused = account(
      () => {
        throw new Error('Network connection lost.');
      },
      {},
      { UPSTREAM_MAX_RETRIES: '2' },
    );
    expect((await refused.ask()).status).toBe(500);
    expect(refused.app.sent).toHaveLength(3);
    const [row, ...others] = await refused.rows();
    expect(others).toEqual([]);
    expect(row).toMatchObject({ status: 'unreachable', cost_usd: 0 });
  });

  test.each([
    [521, {}, 0],
    [530, {}, 0],
    [504, { 'request-id': 'req_up' }, 0],
    [504, {}, 1],
    [502, {}, 1],
  ])('for the status %i with the headers %j is zero (0) or positive (1): %i', async (status, headers, costs) => {
    const gateway = account(async () => {
      advanceClock(80);
      return new Response('<html>no</html>', { status, headers: { 'content-type': 'text/html', ...headers } });
    });
    expect((await gateway.ask()).status).toBeGreaterThanOrEqual(500);
    const [row] = await gateway.rows();
    expect(Math.sign(row?.cost_usd ?? Number.NaN)).toBe(costs);
    expect(row?.cost_usd).toBeLessThan(0.05);
  });

  test('equals the final usage after a cut before the end of the stream', async () => {
    const whole = start({ input_tokens: 100 }) + block(0, { type: 'text', text: '' }, said('word '.repeat(50)));
    const delta = sseEvent('message_delta', { delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 60 } });
    const cut = account(() => sseResponse(createBody([whole + delta], 'cut')));
    await (await cut.ask()).text();
    const [row] = await cut.rows();
    expect(row).toMatchObject({ status: 'cut', estimated: false });
    expect(row?.cost_usd).toBeCloseTo((100 * 4 + 60 * 20) / 1e6, 9);
  });

  test('prices growing cache writes at the longest requested lifetime', async () => {
    const usage = {
      input_tokens: 10,
      cache_creation_input_tokens: 1_000,
      cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 1_000 },
    };
    const stream =
      start(usage) +
      block(0, { type: 'text', text: '' }, said('Hi')) +
      final({ output_tokens: 5, cache_creation_input_tokens: 3_000 });
    const grows = account(() => sseResponse(stream));
    await (await grows.ask({ ...ASK, cache_control: { type: 'ephemeral', ttl: '1h' } })).text();
    const [row] = await grows.rows();
    expect(row?.cost_usd).toBeCloseTo((10 * 4 + 3_000 * 8 + 5 * 20) / 1e6, 9);
    expect(row?.usage.cache_write_1h_input_tokens).toBe(3_000);
  });

  test.each([
    ['prose', 'It was the best of times. '.repeat(40), 280],
    ['digits', '31415926535897932384 '.repeat(40), 300],
    ['JSON', '{"id":1,"tags":["a","b"]},'.repeat(40), 500],
    ['Chinese', '人人生而自由,在尊严和权利上一律平等。'.repeat(40), 800],
  ])('counts observed %s by its characters', async (_, text, least) => {
    stopClock();
    const stream =
      start({ input_tokens: 10 }) +
      sseEvent('content_block_start', { index: 0, content_block: { type: 'text', text: '' } }) +
      sseEvent('content_block_delta', { index: 0, delta: said(text) });
    const cut = account(() => sseResponse(createBody([stream], 'cut')));
    await (await cut.ask()).text();
    const [row] = await cut.rows();
    expect(row?.usage.output_tokens).toBeGreaterThanOrEqual(least);
    expect(row?.usage.output_tokens).toBeLessThanOrEqual(Math.ceil(computeTextTokenUpperBound(text)) + 24 + IN_FLIGHT);
  });

  test.each([
    ['HTML', () => new Response('<html>', { headers: { 'content-type': 'text/html' } })],
    ['no content type', () => new Response(new TextEncoder().encode('hello'))],
    ['nothing', () => new Response(null, { status: 204 })],
    ['an empty body', () => new Response('', { headers: { 'content-type': 'application/json' } })],
    ['a list', () => Response.json([])],
  ])('is zero for a success response with %s, which returns an error', async (_, answer) => {
    // How soon it came says that it has not run: a busy machine must not.
    stopClock();
    const strange = account(answer);
    const response = await strange.ask({ ...ASK, stream: false });
    expect(response.status).toBe(500);
    expect((await readError(response)).message).toContain('ANTHROPIC_BASE_URL');
    expect((await strange.rows())[0]).toMatchObject({ cost_usd: 0, status: 'refused_upstream' });
  });

  test('is zero for a success response with an error, which is returned with its own status', async () => {
    const overloaded = { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } };
    const strange = account(() => Response.json(overloaded));
    const response = await strange.ask({ ...ASK, stream: false });
    expect(response.status).toBe(529);
    expect(await readError(response)).toMatchObject({ type: 'overloaded_error', message: 'Overloaded' });
    expect((await strange.rows())[0]).toMatchObject({ cost_usd: 0, error_type: 'overloaded_error' });
  });
});

test.each([[[null]], [{}], ['x']])('ignores the invalid iterations %j in a final usage', async (iterations) => {
  const strange = account(() =>
    sseResponse(
      start({ input_tokens: 10 }) +
        block(0, { type: 'text', text: '' }, said('Hi')) +
        final({ output_tokens: 5, iterations }),
    ),
  );
  await (await strange.ask()).text();
  const [row] = await strange.rows();
  expect(row).toMatchObject({ status: 'complete', estimated: false });
  expect(row?.cost_usd).toBeCloseTo((10 * 4 + 5 * 20) / 1e6, 9);
});

test.each([{}, { output_tokens: '20' }, { output_tokens: -5 }, { output_tokens: 1e30 }])(
  'estimates a response with the final usage %j by its observed output',
  async (usage) => {
    const stream =
      start({ input_tokens: 10 }) + block(0, { type: 'text', text: '' }, said('word '.repeat(100))) + final(usage);
    const strange = account(() => sseResponse(stream));
    await (await strange.ask()).text();
    const [row] = await strange.rows();
    expect(row).toMatchObject({ status: 'complete', estimated: true });
    expect(row?.usage.output_tokens).toBeGreaterThanOrEqual(100);
    expect(row?.usage.output_tokens).toBeLessThan(500);
  },
);

test('reports the cost of a request as the sum of its tries', async () => {
  let tries = 0;
  const broken = account(
    async () => {
      tries += 1;
      advanceClock(80);
      if (tries === 1) throw new Error('Network connection lost.');
      return sseResponse(
        start({ input_tokens: 20 }) + block(0, { type: 'text', text: '' }, said('Hi')) + final({ output_tokens: 5 }),
      );
    },
    {},
    { UPSTREAM_MAX_RETRIES: '1' },
  );
  const [, price] =
    /sluice-cost-usd=([\d.]+)/.exec(
      await (await broken.ask(ASK, { headers: { 'sluice-stream-cost': 'true' } })).text(),
    ) ?? [];
  const rows = await broken.rows();
  const spent = rows.reduce((sum, { cost_usd }) => sum + cost_usd, 0);
  expect(rows).toHaveLength(2);
  expect(Number(price)).toBeCloseTo(spent, 9);
});

test('logs the cost of a failed attempt if the next one does not fit the budget', async () => {
  const broken = account(
    async () => {
      await broken.object().setLimits({ usd_per_day: 0 });
      advanceClock(80);
      throw new Error('Network connection lost.');
    },
    { usd_per_day: 60 },
    { UPSTREAM_MAX_RETRIES: '1' },
  );
  expect((await broken.ask()).status).toBe(500);
  const [row, ...others] = await broken.rows();
  expect(others).toEqual([]);
  expect(row).toMatchObject({ status: 'retried', estimated: true });
  expect(row?.cost_usd).toBeGreaterThan(0);
  expect(broken.app.log).toHaveLength(1);
  expect(broken.app.log[0]?.cost_usd).toBeCloseTo(row?.cost_usd ?? 0, 9);
});

test('holds each try of a request separately, and sends at most three that may run', async () => {
  const ends = fc.constantFrom<'overloaded' | 'broken' | 'gateway' | 'silent' | 'told'>(
    'overloaded',
    'broken',
    'gateway',
    'silent',
    'told',
  );
  let most = 0;
  await tryAsyncCases(
    { numRuns: caseCount(120), examples: [[['broken', 'gateway', 'broken', 'told'], 128_000, true]] },
    fc.array(ends, { minLength: 1, maxLength: 6 }),
    fc.constantFrom(500, 2_000, 128_000),
    fc.boolean(),
    async (tries, max_tokens, stream) => {
      let nth = 0;
      let ran = 0;
      const { now } = Date;
      const clock = vi.spyOn(Date, 'now').mockImplementation(() => now() + 3_000 * nth);
      try {
        const sick = account(
          () => {
            const end = tries[nth] ?? 'told';
            nth += 1;
            if (end === 'overloaded') {
              const error = { type: 'overloaded_error', message: 'no' };
              return Response.json({ type: 'error', error }, { status: 529, headers: { 'retry-after-ms': '1' } });
            }
            ran += 1;
            if (end === 'broken') throw new Error('Network connection lost.');
            if (end === 'gateway') return new Response('<html>', { status: 502, headers: { 'retry-after-ms': '1' } });
            if (end === 'silent') return sseResponse(createBody([': nothing yet\n\n'], 'cut'));
            return sseResponse(start({ input_tokens: 20 }) + final({ output_tokens: 5 }));
          },
          { usd_per_day: 60 },
          { UPSTREAM_MAX_RETRIES: '6' },
        );
        const body = { ...ASK, max_tokens, stream };
        await (await sick.ask(body)).text();
        const rows = await sick.rows();
        expect(rows.filter(({ cost_usd }) => cost_usd > 0)).toHaveLength(ran);
        for (const { cost_usd, hold_usd, max_tokens: went } of rows) {
          expect(went).toBe(max_tokens);
          expect(cost_usd).toBeLessThanOrEqual(hold_usd);
        }
        // A whole answer with so much at stake rides on a stream.
        expect(ran).toBeLessThanOrEqual(stream || max_tokens === 128_000 ? 3 : 1);
        most = Math.max(most, ran);
      } finally {
        clock.mockRestore();
      }
    },
  );
  expect(most).toBe(3);
});

describe('a budget for concurrent requests', () => {
  /** An answer of some 70 tokens: $0.0014 on Opus 5.5. */
  const short = () =>
    sseResponse(
      start({ input_tokens: 20 }) +
        block(0, { type: 'text', text: '' }, said('Hello there')) +
        final({ output_tokens: 66 }),
    );

  test('of $2 a day admits six parallel requests with an SDK’s max_tokens, ten times in a row', async () => {
    const fresh = account(short, { usd_per_day: 2 });
    for (let round = 0; round < 10; round += 1) {
      const answers = await Promise.all(Array.from({ length: 6 }, () => fresh.ask()));
      expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200, 200]);
      for (const answer of answers) await answer.text();
      const rows = await fresh.rows();
      expect(rows).toHaveLength((round + 1) * 6);
    }
    expect((await fresh.object().getQuotaReport()).day.settled_usd).toBeCloseTo(60 * 0.0014, 4);
  });

  test('of $2 a day admits Claude Code’s first prompt and its title request concurrently', async () => {
    const fresh = account(short, { usd_per_day: 2 });
    for (let round = 0; round < 5; round += 1) {
      const requests = [title, firstPrompt].map(({ body, headers, path }) => {
        const { 'x-api-key': _, 'Content-Type': __, ...rest } = headers;
        return fresh.ask(body, { path, headers: rest });
      });
      const answers = await Promise.all(requests);
      expect(answers.map(({ status }) => status)).toEqual([200, 200]);
      for (const answer of answers) {
        await answer.text();
        // Nothing is spent, so nothing is nearly spent.
        expect(answer.headers.get('anthropic-ratelimit-unified-overage-utilization')).toMatch(/^0\.0\d$/);
      }
      await fresh.rows();
    }
  });

  test('is used to 95 % or more, and never exceeded, by 300 concurrent requests', async () => {
    const LIMIT = 0.5;
    const greedy = account(
      ({ text, url }) => {
        if (url.pathname.endsWith('count_tokens')) return Response.json({ input_tokens: 20 });
        const { max_tokens } = JSON.parse(text) as { max_tokens: number };
        return Response.json(message({ input_tokens: 20, output_tokens: max_tokens }));
      },
      { usd_per_day: LIMIT },
    );
    const statuses = new Map<number, number>();
    const one = async () => {
      const response = await greedy.ask({ ...ASK, stream: false });
      await response.text();
      statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
    };
    await Promise.all(Array.from({ length: 300 }, one));
    await greedy.rows();
    const { settled_usd } = (await greedy.object().getQuotaReport()).day;
    expect(settled_usd).toBeLessThanOrEqual(LIMIT);
    expect(settled_usd).toBeGreaterThanOrEqual(0.95 * LIMIT);
    expect([...statuses.keys()].sort()).toEqual([200, 429]);
  });

  /** An account whose first answer, which holds nearly all of its money, comes when it is let. */
  async function busy(vars: Record<string, string>) {
    const opened = Promise.withResolvers<void>();
    const slow = account(
      async ({ url }) => {
        if (url.pathname.endsWith('count_tokens')) return Response.json({ input_tokens: 20 });
        await opened.promise;
        return Response.json(message({ input_tokens: 20, output_tokens: 5 }));
      },
      { usd_per_day: 0.05, on_shortfall: 'refuse' },
      vars,
    );
    const ask = () => slow.ask({ ...ASK, stream: false, max_tokens: 2_000 });
    const first = ask();
    await expect.poll(() => slow.app.sent.length).toBe(1);
    return { ...slow, first, ask, open: opened.resolve };
  }

  test('rejects a request with a short Retry-After if only the holds of other requests are in the way', async () => {
    // It waits until the line is looked at for the first time.
    const { first, ask, open, rows } = await busy({ HOLD_WAIT_MS: '1' });
    const second = await ask();
    expect(second.status).toBe(429);
    expect(await readError(second)).toMatchObject({ type: 'rate_limit_error' });
    expect(second.headers.get('retry-after')).toBe('2');
    expect(second.headers.get('x-should-retry')).toBeNull();
    expect(second.headers.get('anthropic-ratelimit-unified-status')).toBe('allowed');
    open();
    expect((await first).status).toBe(200);
    await rows();
  });

  test('admits a waiting request as soon as the other request has ended', async () => {
    const { first, ask, open, rows, app } = await busy({});
    const second = ask();
    open();
    expect([(await second).status, (await first).status]).toEqual([200, 200]);
    expect(app.sent.filter(({ url }) => url.pathname === '/v1/messages')).toHaveLength(2);
    await rows();
  });
});

test('lets a visitor with $0.05 use more than three quarters of it for short Sonnet responses', async () => {
  const model = 'claude-sonnet-5-5';
  const short = () =>
    sseResponse(
      start({ input_tokens: 500 }, model) +
        block(0, { type: 'text', text: '' }, said('A sluice is a gate.')) +
        final({ output_tokens: 200 }),
    );
  const poor = account(short, { usd_per_day: 0.05 });
  let spent = 0;
  for (let times = 0; times < 20; times += 1) {
    const response = await poor.ask({ ...ASK, model });
    await response.text();
    if (response.status !== 200) break;
    spent = (await poor.rows()).reduce((sum, { cost_usd }) => sum + cost_usd, 0);
  }
  expect(spent).toBeGreaterThan(0.05 * 0.75);
});

describe('a budget of a dollar a day on Opus 5.5', () => {
  const DAY = { usd_per_day: 1 };
  const answer = () =>
    sseResponse(
      start({ input_tokens: 1_700 }) +
        block(0, { type: 'text', text: '' }, said('A sluice.')) +
        final({ output_tokens: 60 }),
    );

  test('admits an image by URL and five more turns', async () => {
    const poor = account(answer, DAY);
    const image = { type: 'image', source: { type: 'url', url: 'https://example.com/sluice.png' } };
    const messages: object[] = [{ role: 'user', content: [image, { type: 'text', text: 'What is this?' }] }];
    for (let turn = 0; turn < 6; turn += 1) {
      const response = await poor.ask({ ...ASK, messages });
      expect(response.status).toBe(200);
      await response.text();
      messages.push({ role: 'assistant', content: 'A sluice.' }, { role: 'user', content: 'And now?' });
      await poor.rows();
    }
  });

  const search = (max_uses: number) => ({
    ...ASK,
    max_tokens: 4_000,
    tools: [{ type: 'web_search_20260209', name: 'web_search', max_uses }],
  });

  test('admits web_search with three uses if served_tools is estimate', async () => {
    const poor = account(answer, { ...DAY, served_tools: 'estimate' });
    const response = await poor.ask(search(3));
    expect(response.status).toBe(200);
    await response.text();
    expect((await poor.rows())[0]?.hold_usd).toBeLessThanOrEqual(1);
  });

  test('admits web_search with a long, counted history', async () => {
    const counted = ({ url }: { url: URL }) =>
      url.pathname.endsWith('count_tokens') ? Response.json({ input_tokens: 10_000 }) : answer();
    const poor = account(counted, { ...DAY, served_tools: 'estimate' });
    const body = { ...search(2), messages: [{ role: 'user', content: 'word '.repeat(10_000) }] };
    const response = await poor.ask(body);
    expect(response.status).toBe(200);
    await response.text();
    expect((await poor.rows())[0]?.hold_usd).toBeLessThanOrEqual(1);
  });

  test('lowers max_uses of a first request, or rejects the request with on_shortfall: refuse', async () => {
    const poor = account(answer, { ...DAY, served_tools: 'estimate' });
    const { tools, ...rest } = search(3);
    const unlimited = { ...rest, tools: tools.map(({ max_uses: _, ...tool }) => tool) };
    const response = await poor.ask(unlimited);
    expect(response.status).toBe(200);
    expect(response.headers.get('sluice-lowered-by')).toMatch(/; max_uses=\d+$/);
    const strict = account(answer, { ...DAY, served_tools: 'estimate', on_shortfall: 'refuse' });
    const refused = await strict.ask(unlimited);
    expect(refused.status).toBe(429);
    expect((await readError(refused)).message).toMatch(/To reduce the cost of web_search, set max_uses/);
  });

  test('rejects an exactly held search with a message that names the tool and a remedy', async () => {
    const poor = account(answer, DAY);
    const response = await poor.ask(search(3));
    expect(response.status).toBe(429);
    const { type, message: sentence } = await readError(response);
    expect(type).toBe('billing_error');
    expect(sentence).toContain('more than your daily limit. To reduce the cost of web_search');
    expect(sentence).toContain(
      '`"served_tools": "estimate"` in the account’s limits (which reserves only what such tools usually read',
    );
    expect(sentence).toContain('a request can cost more, and exceed the limit');
    expect(sentence).not.toContain('resets');
    expect(response.headers.get('retry-after')).toBeNull();
    expect(response.headers.get('x-should-retry')).toBe('false');
    const richer = account(answer, { usd_per_day: 10 });
    expect((await readError(await richer.ask(search(3)))).message).toContain('lower max_uses to 2');
    expect((await richer.ask(search(1))).status).toBe(200);
  });

  test('settles a cost above the estimated hold in full, and marks the row', async () => {
    const dear = () =>
      sseResponse(
        start({ input_tokens: 1_700 }) +
          block(0, { type: 'text', text: '' }, said('Hi')) +
          final({ input_tokens: 900_000, output_tokens: 60 }),
      );
    const poor = account(dear, { ...DAY, served_tools: 'estimate' });
    await (await poor.ask(search(1))).text();
    const [row] = await poor.rows();
    expect(row).toMatchObject({ over_hold: true, estimated: false });
    expect(row?.cost_usd).toBeCloseTo((900_000 * 4 + 60 * 20) / 1e6, 9);
    expect((await poor.ask()).status).toBe(429);
  });
});

describe('models', () => {
  const ok = () => Response.json(message({ input_tokens: 1_000, output_tokens: 10 }));

  test.each(['claude-sonnet-5-5-20261001', 'claude-sonnet-5-5-latest'])(
    'prices and allows %s as Sonnet 5.5',
    async (model) => {
      const limited = account(ok, { usd_per_day: 1, models: ['claude-sonnet-5-5'] });
      const response = await limited.ask({ ...ASK, model, stream: false });
      expect(response.status).toBe(200);
      const [row] = await limited.rows();
      expect(row).toMatchObject({ model: 'claude-sonnet-5-5', unpriced: false });
      expect((await limited.ask({ ...ASK, model: 'claude-haiku-4-5' })).status).toBe(404);
    },
  );

  test('allows a model if the list contains its snapshot', async () => {
    const limited = account(ok, { models: ['claude-sonnet-5-5-20261001'] });
    expect((await limited.ask({ ...ASK, model: 'claude-sonnet-5-5', stream: false })).status).toBe(200);
  });

  test('rejects a model without a price under a limit in USD, with a message that names PRICES', async () => {
    const limited = account(ok, { usd_per_month: 100 });
    const response = await limited.ask({ ...ASK, model: 'claude-next-7', stream: false });
    expect(response.status).toBe(404);
    expect((await readError(response)).message).toContain('PRICES');
    expect(limited.app.sent).toEqual([]);
    const priced = account(ok, { usd_per_month: 100 }, { PRICES: '{"claude-next-7":{"prices":{"input":1}}}' });
    expect((await priced.ask({ ...ASK, model: 'claude-next-7', stream: false })).status).toBe(200);
    const free = account(ok, {});
    expect((await free.ask({ ...ASK, model: 'claude-next-7', stream: false })).status).toBe(200);
  });
});

test('counts a token count towards count_requests_per_minute even if its request is then rejected', async () => {
  const poor = account(
    ({ url }) => (url.pathname.endsWith('count_tokens') ? Response.json({ input_tokens: 100_000 }) : Response.json({})),
    { usd_per_day: 0.2, count_requests_per_minute: 2 },
  );
  const long = { ...ASK, messages: [{ role: 'user', content: 'word '.repeat(100_000) }] };
  for (const counts of [1, 2]) {
    expect((await poor.ask(long)).status).toBe(429);
    expect(poor.app.sent).toHaveLength(counts);
  }
  const third = await poor.ask(long);
  expect((await readError(third)).message).toContain('count_requests_per_minute');
  expect(poor.app.sent).toHaveLength(2);
});

test('keeps the spent amount of each budget window when the account is erased', async () => {
  const spender = account(() => Response.json(message({ input_tokens: 1_000, output_tokens: 1_000 })), {
    usd_per_day: 1,
  });
  await spender.ask({ ...ASK, stream: false });
  await spender.rows();
  const before = await spender.object().getQuotaReport();
  await spender.object().erase();
  const after = await spender.object().getQuotaReport();
  for (const window of ['day', 'week', 'month'] as const) {
    expect(after[window].settled_usd).toBe(before[window].settled_usd);
  }
  const { data, total } = await spender.object().getUsageReport({ group_by: 'model' });
  expect(data.map(({ key }) => key)).toEqual(['(erased)']);
  expect(total.cost_usd).toBe(before.month.settled_usd);
  expect((await spender.object().listRequests({})).data).toEqual([]);
});

describe('thinking in an earlier response, which the API bills again', () => {
  const simulate = createSimulator({ ttftMs: 0, tokensPerSecond: 0 });
  const HAIKU = { model: 'claude-haiku-5-5', max_tokens: 4_000 };
  const THOUGHT = { 'x-api-key': TEST_KEY, 'anthropic-version': '2023-06-01', 'sluice-simulate': 'thinking=3000' };
  const question = (content: string) => ({ role: 'user', content });

  test.each([
    ['by its bytes', 'Why?', {}],
    ['by a count, which leaves it out', 'word '.repeat(4_000), { usd_per_day: 0.00165 }],
  ])('is held %s', async (_, text, limits) => {
    const asked = await simulate('https://api.anthropic.com/v1/messages', {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...THOUGHT },
      body: JSON.stringify({ ...HAIKU, messages: [question(text)] }),
    });
    const { content } = (await asked.json()) as { content: unknown };
    const { app, ask, rows } = account(
      ({ url, method, headers, text: body }) => simulate(url, { method, headers, body }),
      limits,
    );
    const messages = [question(text), { role: 'assistant', content }, question('And?')];
    const answer = await ask({ ...HAIKU, max_tokens: 16, thinking: { type: 'disabled' }, messages });
    expect([answer.status, app.sent.length]).toEqual([200, 'usd_per_day' in limits ? 2 : 1]);
    await answer.text();
    const [row] = await rows();
    expect(row?.usage.input_tokens).toBeGreaterThan(text.length / 5 + 3_000);
    expect(row?.hold_usd).toBeGreaterThanOrEqual(row?.cost_usd ?? Number.NaN);
  });
});
