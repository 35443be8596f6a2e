import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, onTestFinished, test } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { Account } from '#edge/money/account/account.ts';
import { createTestApp, readError, type SentRequest, type TestApp, waitForAllApps } from '#test/support/app.ts';
import { advanceClock } from '#test/support/calendar.ts';
import { createDraw, type Draw } from '#test/support/create-draw.ts';
import { resetAll } from '#test/support/reset.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { createWebhookVars } from '#test/support/webhook-vars.ts';
import {
  createErrorResponse,
  messageEnd,
  messageWith as messageOf,
  messageStart,
  splitEvents,
  sseResponse,
  textBlock,
} from '#test/support/wire.ts';
import { yieldToEventLoop } from '#test/support/yield-to-event-loop.ts';
import dashboard from '../../../../docs/grafana.json';
import { metricsIn, namesIn, sumOf } from './open-metrics.ts';

declare const METRICS_REQUESTS: string;

const bindings = env as unknown as Bindings;
const MODELS = ['claude-haiku-5-5', 'claude-opus-5-5', 'claude-fable-0'];
const ACCOUNTS = ['alice', 'bob', 'carol', 'poor'];
const OPEN_METRICS = { accept: 'application/openmetrics-text; version=1.0.0' };
const KINDS = ['whole', 'stream', 'cut', 'overloaded', 'invalid', 'left', 'unreachable'] as const;
type Kind = (typeof KINDS)[number];

/** An edge whose upstream answers as the text of the prompt says. After the test it is settled, and emptied. */
function mixedEdge(vars: Record<string, unknown> = {}): TestApp {
  const app = createTestApp(answerTo, { ...DEPLOYED_VARS, UPSTREAM_MAX_RETRIES: '0', ...vars });
  onTestFinished(async () => {
    await waitForAllApps();
    await resetAll();
  });
  return app;
}

function answerTo({ text, signal }: SentRequest): Response {
  const { model, messages } = JSON.parse(text) as { model: string; messages: [{ content: string }] };
  const [kind, input, output, cached] = messages[0].content.split(' ') as [Kind, string, string, string];
  const usage = { input_tokens: Number(input), output_tokens: 1, cache_read_input_tokens: Number(cached) };
  if (kind === 'unreachable') throw new TypeError('Network connection lost.');
  if (kind === 'overloaded') return createErrorResponse(529, 'overloaded_error');
  if (kind === 'invalid') return createErrorResponse(400, 'invalid_request_error');
  const ended = { ...usage, output_tokens: Number(output) };
  if (kind === 'whole') return Response.json(messageOf({ model, content: [], usage: ended }));
  const events = splitEvents(messageStart({ model, usage }) + textBlock(['Hello there. ']) + messageEnd(ended)).map(
    (event) => new TextEncoder().encode(event),
  );
  const body = new ReadableStream({
    type: 'bytes',
    async start(controller) {
      signal?.addEventListener('abort', () => controller.error(signal.reason));
      const [first, ...others] = events;
      controller.enqueue(first as Uint8Array<ArrayBuffer>);
      // Time passes in every stream once its first event was seen, so that it has a speed.
      await yieldToEventLoop(3);
      advanceClock(2);
      if (signal?.aborted) return;
      for (const event of kind === 'stream' ? others : others.slice(0, 2)) {
        controller.enqueue(event as Uint8Array<ArrayBuffer>);
      }
      // Whoever leaves does so in a silence.
      if (kind === 'stream') controller.close();
      else if (kind === 'cut') controller.error(new Error('cut'));
    },
  });
  return sseResponse(body);
}

async function ask(app: TestApp, draw: Draw, headers: Record<string, string>): Promise<string> {
  const kind = KINDS[draw(KINDS.length)] ?? 'whole';
  const content = `${kind} ${draw(5_000)} ${1 + draw(900)} ${draw(2) * draw(9_000)}`;
  const stream = ['stream', 'cut', 'left'].includes(kind);
  const body = { model: MODELS[draw(MODELS.length)], max_tokens: 1_000, stream, messages: [{ role: 'user', content }] };
  const leaving = new AbortController();
  const response = await app.fetch('/v1/messages', {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
    signal: leaving.signal,
  });
  if (kind === 'left' && response.ok) {
    const reader = response.body?.getReader();
    await reader?.read();
    leaving.abort();
    await reader?.cancel();
  } else await response.text();
  return `${response.status}`;
}

const SUMS = ['count(*) as requests', 'count(error_type) as failed', 'count(first_event_ms) as timed']
  .concat(['cost', 'input_tokens', 'output_tokens', 'cache_read_tokens'].map((name) => `sum(${name}) as ${name}`))
  .concat('sum(first_event_ms) as first_ms', 'count(*) filter (where first_event_ms <= 500) as within_500')
  .concat('count(waited_ms) as waited', 'sum(waited_ms) as wait_ms')
  .concat('count(*) filter (where waited_ms <= 100) as waited_within_100')
  .join(', ');

/** @returns what the ledgers say by model, after every account has told it */
async function ledgers(accounts = ACCOUNTS): Promise<Map<string, Record<string, number>>> {
  const sums = new Map<string, Record<string, number>>();
  for (const account of accounts) {
    await runInDurableObject(getAccountStub(bindings, {}, account), async (object: Account, { storage }) => {
      const { held } = storage.sql.exec("select count(*) as held from ledger where status = 'held'").one();
      expect(held, `${account} has requests that run`).toBe(0);
      for (const { model, ...row } of storage.sql.exec(`select model, ${SUMS} from ledger group by model`)) {
        const key = String(model) === 'claude-fable-0' ? '(other)' : String(model);
        const before = sums.get(key) ?? {};
        sums.set(
          key,
          Object.fromEntries(Object.entries(row).map(([name, n]) => [name, (before[name] ?? 0) + Number(n)])),
        );
      }
      await object.reportSpendingToPool('deployment');
    });
  }
  return sums;
}

describe('GET /metrics', () => {
  test('agrees with the ledgers and the responses, to the request and the nanodollar', async () => {
    const app = mixedEdge();
    const admin = bearerHeader(await createToken('root', ['admin']));
    await app.fetch('/accounts/poor/limits', {
      method: 'PUT',
      headers: { ...admin, 'content-type': 'application/json' },
      body: JSON.stringify({ usd_per_day: 0.000001 }),
    });
    const scrape = async () =>
      metricsIn(await (await app.fetch('/metrics?isolate', { headers: { ...admin, ...OPEN_METRICS } })).text());
    const draw = createDraw(44);
    const before = await scrape();
    const logged = app.log.length;
    const statuses: string[] = [];
    const each = Number(METRICS_REQUESTS) / 20;
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        for (let done = 0; done < each; done += 1) {
          const headers = bearerHeader(await createToken(ACCOUNTS[draw(ACCOUNTS.length)] ?? 'alice'));
          statuses.push(await ask(app, draw, headers));
        }
      }),
    );
    await app.waitUntilSettled();
    const booked = await ledgers();
    const after = await scrape();
    expect(booked.size).toBe(3);
    for (const [model, row] of booked) {
      const of = { model };
      expect({
        requests: sumOf(after, 'sluice_requests_total', of),
        failed: sumOf(after, 'sluice_failed_requests_total', of),
        cost: Math.round(sumOf(after, 'sluice_cost_usd_total', of) * 1e9),
        input_tokens: sumOf(after, 'sluice_tokens_total', { ...of, kind: 'input' }),
        output_tokens: sumOf(after, 'sluice_tokens_total', { ...of, kind: 'output' }),
        cache_read_tokens: sumOf(after, 'sluice_tokens_total', { ...of, kind: 'cache_read' }),
        timed: sumOf(after, 'sluice_time_to_first_event_seconds_count', of),
        first_ms: Math.round(sumOf(after, 'sluice_time_to_first_event_seconds_sum', of) * 1e3),
        within_500: sumOf(after, 'sluice_time_to_first_event_seconds_bucket', { ...of, le: '0.5' }),
        waited: sumOf(after, 'sluice_wait_seconds_count', of),
        wait_ms: Math.round(sumOf(after, 'sluice_wait_seconds_sum', of) * 1e3),
        waited_within_100: sumOf(after, 'sluice_wait_seconds_bucket', { ...of, le: '0.1' }),
      }).toEqual(row);
      expect(row.timed).toBeGreaterThan(0);
      expect(row.waited).toBeGreaterThan(0);
      expect(sumOf(after, 'sluice_streamed_tokens_total', of)).toBeGreaterThan(0);
    }
    const grown = (name: string, of: Record<string, string> = {}) => sumOf(after, name, of) - sumOf(before, name, of);
    for (const status of new Set(statuses)) {
      // The scrape before ended with a 200 of its own, as did the one that it was.
      const own = status === '200' ? 1 : 0;
      const answered = statuses.filter((one) => one === status).length;
      expect(grown('sluice_isolate_requests_total', { status }), status).toBe(answered + own);
    }
    const errors = app.log
      .slice(logged)
      .map(({ error_type }) => error_type)
      .filter((type) => type !== undefined);
    expect(grown('sluice_isolate_errors_total')).toBe(errors.length);
    const refused = app.log.slice(logged).filter(({ limited_by }) => limited_by === 'account').length;
    expect(refused).toBeGreaterThan(0);
    expect(grown('sluice_isolate_refusals_total', { limited_by: 'account' })).toBe(refused);
    const { refusals } = await (await app.fetch('/usage/requests?outcome=refused', { headers: admin }))
      .json()
      .then((list) => ({ refusals: (list as { data: { refusal: { limited_by: string; reason: string } }[] }).data }));
    expect(sumOf(after, 'sluice_rejected_requests_total')).toBe(refused);
    for (const { refusal } of refusals)
      expect(
        sumOf(after, 'sluice_rejected_requests_total', { limited_by: refusal.limited_by, reason: refusal.reason }),
      ).toBeGreaterThan(0);
    // A caller who has left may still wait inside; those of files before, whose Worker was taken as dead, do for ever.
    const waiting = 'sluice_isolate_waiting_requests';
    await expect.poll(async () => sumOf(await scrape(), waiting)).toBeLessThanOrEqual(sumOf(before, waiting));
    expect(sumOf(after, 'sluice_budget_held_usd')).toBe(0);
  });

  test('returns every metric of the dashboard, with at most 51 values of `model`, `type` and `status` each', async () => {
    const upstreams = ['first', 'second'].map((name) => ({ name, kind: 'anthropic', base_url: 'https://a.test' }));
    const app = mixedEdge({
      UPSTREAMS: JSON.stringify(upstreams),
      UPSTREAM_FIRST_KEY: 'key-1',
      UPSTREAM_SECOND_KEY: 'key-2',
      DEPLOYMENT_LIMITS: '{"alerts": [0.5]}',
      CF_VERSION_METADATA: { id: 'a-version', tag: '', timestamp: '2026-11-29T00:00:00Z' },
    });
    const admin = bearerHeader(await createToken('root', ['admin']));
    const headers = bearerHeader(await createToken('alice'));
    for (let at = 0; at < 70; at += 1) {
      const body = { model: `invented-${at}`, max_tokens: 10, messages: [{ role: 'user', content: 'invalid 1 1 0' }] };
      await app.post('/v1/messages', body, headers);
    }
    await app.post(
      '/v1/messages',
      { model: 'claude-haiku-5-5', max_tokens: 10, messages: [{ role: 'user', content: 'whole 9 9 0' }] },
      headers,
    );
    await app.waitUntilSettled();
    await ledgers(['alice']);
    const response = await app.fetch('/metrics?isolate', { headers: { ...admin, ...OPEN_METRICS } });
    expect(response.headers.get('content-type')).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8');
    const text = await response.text();
    const read = metricsIn(text);
    const valuesOf = (label: string) => new Set(read.flatMap(({ labels }) => labels[label] ?? []));
    expect([...valuesOf('model')].filter((model) => model.startsWith('invented'))).toEqual([]);
    for (const label of ['model', 'type', 'status']) expect(valuesOf(label).size, label).toBeLessThanOrEqual(51);
    expect(sumOf(read, 'sluice_upstream_requests_total', { upstream: 'first' })).toBeGreaterThan(0);
    expect(sumOf(read, 'sluice_isolate_breaker_state', { upstream: 'first', model: 'claude-haiku-5-5' })).toBe(0);
    expect(sumOf(read, 'sluice_budget_spent_usd', { window: 'day' })).toBeGreaterThan(0);
    expect(sumOf(read, 'sluice_pool_up')).toBe(1);
    expect(
      read.filter(({ name }) => name === 'sluice_key_rejected').map(({ labels, value }) => [labels.upstream, value]),
    ).toEqual([
      ['first', 0],
      ['second', 0],
    ]);
    expect(sumOf(read, 'sluice_build_info', { version: 'a-version' })).toBe(1);
    expect(app.log.filter(({ model }) => model === 'claude-haiku-5-5')).toEqual([
      expect.objectContaining({
        'gen_ai.operation.name': 'chat',
        'gen_ai.provider.name': 'anthropic',
        'gen_ai.request.model': 'claude-haiku-5-5',
        'gen_ai.usage.input_tokens': 9,
        'gen_ai.usage.output_tokens': 9,
      }),
    ]);
    // What the dashboard asks for is there, and what is there is asked for.
    const names = namesIn(text);
    const asked = dashboard.panels.flatMap(({ targets }) =>
      targets.flatMap(({ expr }) => [...expr.matchAll(/sluice_\w+/g)]),
    );
    const askedNames = new Set(asked.map(([name]) => name));
    expect([...askedNames].filter((name) => !names.has(name))).toEqual([]);
    const familyOf = (name: string) => name.replace(/_(total|bucket|count|sum)$/, '');
    const shown = new Set([...askedNames].map(familyOf));
    const ofUpstreams = ['tokens', 'thinking_tokens', 'web_searches'].map((name) => `sluice_upstream_${name}`);
    const left = new Set([...names].map(familyOf).filter((name) => !shown.has(name)));
    expect([...left].sort()).toEqual(['sluice_isolate_start_time_seconds', ...ofUpstreams].sort());
    for (const { targets } of dashboard.panels) {
      for (const { expr } of targets) {
        for (const [, labels = ''] of expr.matchAll(/by \(([^)]*)\)/g)) {
          const known = read.filter(({ name }) => expr.includes(name)).map((one) => Object.keys(one.labels));
          if (known.length > 0) expect(known.flat(), expr).toEqual(expect.arrayContaining(labels.split(', ')));
        }
      }
    }
  });

  test.each([
    [undefined, 'text/plain; version=0.0.4; charset=utf-8'],
    ['*/*', 'text/plain; version=0.0.4; charset=utf-8'],
    ['text/plain;version=0.0.4;q=0.5', 'text/plain; version=0.0.4; charset=utf-8'],
    ['text/html', 'text/plain; version=0.0.4; charset=utf-8'],
    ['application/openmetrics-text;version=1.0.0;q=0.4,text/plain;q=0.5', 'text/plain; version=0.0.4; charset=utf-8'],
    [
      'application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2',
      'application/openmetrics-text; version=1.0.0; charset=utf-8',
    ],
  ])('returns the format for the Accept header %s, and no isolate metrics by default', async (accept, type) => {
    const app = mixedEdge();
    const admin = bearerHeader(await createToken('root', ['admin']));
    const response = await app.fetch('/metrics', { headers: accept === undefined ? admin : { ...admin, accept } });
    expect(response.headers.get('content-type')).toBe(type);
    const text = await response.text();
    expect(text.endsWith('# EOF\n')).toBe(type.startsWith('application'));
    expect(text).toContain(`# TYPE sluice_requests${type.startsWith('text') ? '_total' : ''} counter\n`);
    expect(text).not.toContain('sluice_isolate_');
    expect(text).toContain('sluice_key_rejected{upstream=""} 0\n');
  });

  test('contains the number of undelivered events of each source, even if it is 0', async () => {
    const secret = { GITHUB_WEBHOOK_SECRET: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw' };
    const app = mixedEdge({ ...createWebhookVars('github'), ...secret });
    const answer = await app.fetch('/metrics', {
      headers: { ...OPEN_METRICS, ...bearerHeader(await createToken('root', ['admin'])) },
    });
    expect(await answer.text()).toContain('sluice_undelivered_events{source="github"} 0\n');
  });

  test('contains the budgets of groups', async () => {
    const app = mixedEdge();
    const admin = { ...bearerHeader(await createToken('root', ['admin'])), 'content-type': 'application/json' };
    const body = JSON.stringify({ usd_per_day: 5 });
    await (await app.fetch('/groups/red/limits', { method: 'PUT', headers: admin, body })).text();
    const text = await (await app.fetch('/metrics', { headers: admin })).text();
    expect(text).toContain('sluice_group_budget_limit_usd{group="red",window="day"} 5\n');
    expect(text).toContain('sluice_group_budget_spent_usd{group="red",window="day"} 0\n');
  });

  test('requires an admin, and returns the isolate’s metrics while the pool cannot be reached', async () => {
    const app = mixedEdge({ POOL: { idFromName: () => ({}), get: () => ({}) } });
    expect((await readError(await app.fetch('/metrics'))).type).toBe('authentication_error');
    const headers = bearerHeader(await createToken('alice'));
    expect((await readError(await app.fetch('/metrics', { headers }))).type).toBe('permission_error');
    const read = metricsIn(
      await (
        await app.fetch('/metrics?isolate', {
          headers: { ...OPEN_METRICS, ...bearerHeader(await createToken('root', ['admin'])) },
        })
      ).text(),
    );
    expect(sumOf(read, 'sluice_pool_up')).toBe(0);
    expect(sumOf(read, 'sluice_isolate_requests_total', { status: '403' })).toBeGreaterThan(0);
    expect(read.filter(({ name }) => name === 'sluice_requests_total')).toEqual([]);
  });
});
