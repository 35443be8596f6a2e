import { abortAllDurableObjects, runDurableObjectAlarm } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import fc from 'fast-check';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Account } from '#edge/money/account/account.ts';
import { Ledger } from '#edge/money/ledger/ledger.ts';
import { readError, type TestApp } from '#test/support/app.ts';
import { countWrittenRows } from '#test/support/conversations.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { resetAll } from '#test/support/reset.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';
import { admitInside, settleInside, worstCaseWith } from './admission-requests.ts';
import { runInAccount } from './run-in-account.ts';
import { smallEdge } from './small-edge.ts';
import { ASK } from './small-request.ts';

const bindings = env as unknown as { ACCOUNT: DurableObjectNamespace<Account> };
const DAY = 86_400_000;
const stub = () => getAccountStub(bindings, {}, 'alice');
const nano = (usd: number) => Math.round(usd * 1e9);
let start = 0;
let clock = 0;
let ids = 0;

beforeEach(() => {
  start = Date.now() + 100 * DAY;
  start -= start % DAY;
  clock = start;
});

async function inAccount<T>(run: (account: Account) => T | Promise<T>): Promise<T> {
  return await runInAccount(stub(), { now: () => clock, retentionDays: 2 }, run);
}

interface Row {
  id: string;
  day: number;
  cost: number;
  settled: boolean;
  token: string | null;
  user: string | null;
  tags: string[];
}

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('ask' as const),
      token: fc.constantFrom(undefined, 't1', 't2'),
      user: fc.constantFrom(undefined, 'u1', 'u2'),
      tags: fc.constantFrom(undefined, 'a=1', 'a=2', 'a=1,b=1', 'b=1'),
    }),
  },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('settle' as const), which: fc.nat(9), cost: fc.nat(11_000) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('pass' as const), days: fc.integer({ min: 0, max: 2 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('look' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('wake' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('crash' as const) }) },
);

type Group = 'token' | 'user' | 'tag' | 'model' | 'day';

function keysOf(row: Row, group: Group): (string | null)[] {
  if (group === 'tag') return row.tags.length === 0 ? [null] : row.tags;
  if (group === 'model') return ['claude-opus-5-5'];
  if (group === 'day') return [new Date(start + row.day * DAY).toISOString().slice(0, 10)];
  return [row[group]];
}

test('sums usage by token, user, tag, model and day exactly, across alarms and crashes', async () => {
  await tryAsyncCases(caseCount(150), fc.array(step, { maxLength: 40 }), async (steps) => {
    await resetAll();
    const rows: Row[] = [];
    const settled = () => rows.filter(({ settled }) => settled);
    for (const next of [...steps, { kind: 'look' as const }]) {
      if (next.kind === 'pass') clock += next.days * DAY;
      else if (next.kind === 'crash') await abortAllDurableObjects();
      else if (next.kind === 'wake') {
        await inAccount(() => undefined);
        await runDurableObjectAlarm(stub());
        for (const row of rows)
          if (!row.settled && start + (row.day + 1) * DAY <= clock) Object.assign(row, { settled: true, cost: 11_000 });
      } else if (next.kind === 'ask') {
        ids += 1;
        const { token, user, tags } = next;
        const row = {
          id: `req_${String(ids).padStart(12, '0')}`,
          day: (clock - start) / DAY,
          cost: 0,
          settled: false,
        };
        rows.push({ ...row, token: token ?? null, user: user ?? null, tags: tags?.split(',') ?? [] });
        await inAccount((account) =>
          admitInside(account, {
            requestId: row.id,
            route: 'messages',
            model: 'claude-opus-5-5',
            token: token === undefined ? undefined : { jti: token },
            dimensions: { user, tags },
            maximumCost: worstCaseWith(),
            defaults: {},
          }),
        );
      } else if (next.kind === 'settle') {
        const open = rows.filter((row) => !row.settled);
        const row = open[next.which % Math.max(1, open.length)];
        if (!row) continue;
        Object.assign(row, { settled: true, cost: next.cost });
        const { outcome } = await inAccount((account) =>
          settleInside(account, { requestId: row.id, status: 'complete', cost: next.cost }),
        );
        expect(outcome).toBe('settled');
      } else {
        for (const group of ['token', 'user', 'tag', 'model', 'day'] as const) {
          for (const days of [{}, { from: dayOf(1) }, { from: dayOf(1), to: dayOf(3) }]) {
            const { data, total } = await inAccount((account) => account.getUsageReport({ group_by: group, ...days }));
            const within = settled().filter(
              ({ day }) => day >= ('from' in days ? 1 : 0) && day < ('to' in days ? 3 : 1e9),
            );
            const expected = new Map<string | null, { requests: number; cost: number }>();
            for (const row of within) {
              for (const key of keysOf(row, group)) {
                const before = expected.get(key) ?? { requests: 0, cost: 0 };
                expected.set(key, { requests: before.requests + 1, cost: before.cost + row.cost });
              }
            }
            const seen = data.map(({ key, requests, cost_usd }) => [key, { requests, cost: nano(cost_usd) }] as const);
            expect(new Map(seen), `${group} ${JSON.stringify(days)}`).toEqual(expected);
            expect([total.requests, nano(total.cost_usd)]).toEqual([
              within.length,
              within.reduce((sum, { cost }) => sum + cost, 0),
            ]);
          }
        }
      }
    }
  });
});

const dayOf = (day: number) => new Date(start + day * DAY).toISOString().slice(0, 10);

test('keeps 200 values of a dimension per day, and sums all others under (other)', async () => {
  await inAccount((account) => {
    for (let i = 0; i < 300; i += 1) {
      const admittedFields = { route: 'messages', model: 'claude-opus-5-5', dimensions: { tags: `customer=${i}` } };
      settleInside(account, { requestId: `req_${1_000 + i}`, status: 'complete', cost: 1_000 + i, admittedFields });
    }
  });
  const { data, total } = await inAccount((account) => account.getUsageReport({ group_by: 'tag' }));
  expect(data).toHaveLength(201);
  expect(data.find(({ key }) => key === '(other)')).toMatchObject({ requests: 100 });
  expect(data.reduce((sum, { cost_usd }) => sum + nano(cost_usd), 0)).toBe(nano(total.cost_usd));
});

test('adding settled requests to the daily totals writes the row “(other)” once, for any number of values', async () => {
  const written = vi.spyOn(Ledger.prototype, 'runWriteStatement');
  await inAccount((account) => {
    for (let nth = 0; nth < 300; nth += 1) {
      ids += 1;
      const requestId = `req_${String(ids).padStart(12, '0')}`;
      const ask = {
        requestId,
        route: 'messages',
        model: 'claude-opus-5-5',
        maximumCost: worstCaseWith(),
        defaults: {},
      };
      admitInside(account, { ...ask, dimensions: { user: `u${nth}` } });
      settleInside(account, { requestId, status: 'complete', cost: 1 });
    }
  });
  clock += 3 * DAY;
  await inAccount(() => undefined);
  await runDurableObjectAlarm(stub());
  expect(written.mock.calls.filter(([sql]) => sql.startsWith('insert into dimensions'))).toHaveLength(201);
  const { data } = await inAccount((account) => account.getUsageReport({ group_by: 'user' }));
  expect(data.find(({ key }) => key === '(other)')).toMatchObject({ requests: 100 });
});

test('counts by bounds how long requests waited before they were sent, before and after they join the daily totals', async () => {
  await inAccount((account) => {
    for (const waitedMs of [0, 100, 101, 29_999, 40_000, undefined]) {
      ids += 1;
      const admittedFields = { route: 'messages', model: 'claude-opus-5-5', dimensions: { tags: 'a=1' } };
      const requestId = `req_${String(ids).padStart(12, '0')}`;
      settleInside(account, { requestId, status: 'complete', cost: 1, admittedFields, waitedMs });
    }
  });
  const expected = {
    waited_requests: 5,
    waited_ms: 70_200,
    waited_within_ms: { 100: 2, 500: 3, 1000: 3, 5000: 3, 10000: 3, 30000: 4 },
  };
  for (const isFolded of [false, true]) {
    for (const group of ['model', 'tag'] as const) {
      const { data, total } = await inAccount((account) => account.getUsageReport({ group_by: group }));
      expect(total.speed, `${group} ${isFolded}`).toMatchObject(expected);
      expect(data).toEqual([expect.objectContaining({ speed: expect.objectContaining(expected) })]);
    }
    clock += 3 * DAY;
    await inAccount(() => undefined);
    await runDurableObjectAlarm(stub());
  }
});

test('writes no further row for a request’s tags and user', async () => {
  const rows = await countWrittenRows(stub());
  const written = async (dimensions: { tags?: string; user?: string }) => {
    ids += 1;
    const requestId = `req_${String(ids).padStart(12, '0')}`;
    const before = rows();
    await inAccount((account) => {
      admitInside(account, {
        requestId,
        route: 'messages',
        model: 'claude-opus-5-5',
        maximumCost: worstCaseWith(),
        defaults: {},
        dimensions,
      });
      settleInside(account, { requestId, status: 'complete', cost: 1 });
    });
    return rows() - before;
  };
  await written({});
  const plain = await written({});
  expect([plain, await written({ tags: 'a=1,b=2', user: 'u' })]).toEqual([2, 2]);
});

const admin = async () => bearerHeader(await createToken('root', ['admin']));

describe('tags over HTTP', () => {
  const bob = async (more = {}) => bearerHeader(await createToken('bob', ['messages'], more));
  const by = async (app: TestApp, group: string) => {
    await app.waitUntilSettled();
    const response = await app.fetch(`/usage?account=bob&group_by=${group}`, { headers: await admin() });
    const { data } = (await response.json()) as { data: { key: string | null; requests: number }[] };
    return Object.fromEntries(data.map(({ key, requests }) => [String(key), requests]));
  };

  test('are read from a header, stored in the row, and not forwarded', async () => {
    const app = smallEdge();
    const tags = { 'sluice-tags': 'feature=search, customer=42' };
    const headers = await bob();
    await app.post('/messages', ASK, { ...headers, ...tags });
    await app.post('/v1/messages', ASK, { ...headers, ...tags });
    await app.post('/messages', ASK, headers);
    expect(await by(app, 'tag')).toEqual({ 'feature=search': 2, 'customer=42': 2, null: 1 });
    for (const { headers: up } of app.sent) expect([...up.keys()].join()).not.toContain('sluice');
    const { data } = (await (
      await app.fetch('/usage/requests?account=bob&limit=3', { headers: await admin() })
    ).json()) as { data: { tags: unknown }[] };
    expect(data.map((row) => row.tags)).toContainEqual({ customer: '42', feature: 'search' });
  });

  test('of a token’s claim take precedence over the header', async () => {
    const app = smallEdge();
    const headers = await bob({ tags: { team: 'red' } });
    await app.post('/messages', ASK, { ...headers, 'sluice-tags': 'team=blue' });
    expect(await by(app, 'tag')).toEqual({ 'team=red': 1 });
    const mint = { account: 'bob', scopes: ['messages'], tags: { team: 'green' } };
    const minted = (await (await app.post('/tokens', mint, await admin())).json()) as { token: string };
    await app.post('/messages', ASK, { ...bearerHeader(minted.token), 'sluice-tags': 'not tags' });
    expect(await by(app, 'tag')).toEqual({ 'team=red': 1, 'team=green': 1 });
    expect((await app.post('/tokens', { ...mint, tags: { 'a b': '1' } }, await admin())).status).toBe(400);
  });

  test('in a malformed header cause a 400 that shows the expected format, and no request is sent', async () => {
    const app = smallEdge();
    const response = await app.post('/messages', ASK, { ...(await bob()), 'sluice-tags': 'feature' });
    expect(response.status).toBe(400);
    expect((await readError(response)).message).toMatch(/^sluice-tags: must be at most 8 pairs such as feature=search/);
    expect(app.sent).toHaveLength(0);
  });

  test('are not needed to group usage by user, a hash of metadata.user_id, also with UPSTREAM_USER_ID', async () => {
    for (const vars of [{}, { UPSTREAM_USER_ID: 'account' }]) {
      const app = smallEdge(vars);
      const named = { ...ASK, metadata: { user_id: 'user-1' } };
      await app.post('/messages', named, await bob());
      await app.post('/v1/messages', named, await bob());
      const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode('sluice user user-1'));
      const hex = [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
      expect(await by(app, 'user')).toEqual({ [hex.slice(0, 32)]: 2 });
      await app.waitUntilSettled();
      await resetAll();
    }
  });
});

describe('usage as CSV', () => {
  test('has one line per group, and escapes cells that a spreadsheet would evaluate', async () => {
    const app = smallEdge();
    await inAccount((account) => {
      for (const [index, model] of ['=1+1', 'a"b,c', 'a;=1+1;" @b'].entries()) {
        const ended = {
          requestId: `req_${index}`,
          status: 'complete',
          cost: 100 + index,
          tokens: { input: 9 },
          ...(index === 1 && { saved: -4_050_000 }),
        };
        settleInside(account, { ...ended, admittedFields: { model } });
      }
    });
    const headers = await admin();
    const response = await app.fetch('/usage?account=alice&group_by=model&format=csv', { headers });
    expect(response.headers.get('content-type')).toBe('text/csv; charset=utf-8');
    const lines = (await response.text()).split('\r\n');
    expect(lines[0]).toBe(
      'model,requests,cost_usd,saved_usd,input_tokens,output_tokens,cache_read_input_tokens,cache_write_5m_input_tokens,cache_write_1h_input_tokens,thinking_tokens,web_search_requests,failed,timed_requests,ttft_ms,streamed_tokens,streamed_ms,waited_requests,waited_ms',
    );
    expect(lines.slice(1).sort()).toEqual([
      '',
      `"a""b,c",1,0.000000101,-0.00405,9,0,0,0,0,0,0,0,0,0,0,0,0,0`,
      `"a;'=1+1;'"" @b",1,0.000000102,0,9,0,0,0,0,0,0,0,0,0,0,0,0,0`,
      `'=1+1,1,0.0000001,0,9,0,0,0,0,0,0,0,0,0,0,0,0,0`,
    ]);
    for (const query of ['group_by=day&format=xml', 'group_by=group9']) {
      expect((await app.fetch(`/usage?${query}`, { headers })).status).toBe(400);
    }
  });
});
