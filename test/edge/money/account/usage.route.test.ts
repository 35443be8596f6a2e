import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as z from 'zod/mini';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { accountList } from '#edge/kit/kv/name-list.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { Account } from '#edge/money/account/account.ts';
import { ledgerRequestSchema, usageReportSchema } from '#edge/money/account/usage-answers.schema.ts';
import { readError } from '#test/support/app.ts';
import { advanceClock } from '#test/support/calendar.ts';
import { disableAutomaticAlarms } from '#test/support/pending-work.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';
import { resetAll } from '#test/support/reset.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';
import { settleInside } from './admission-requests.ts';
import { smallEdge } from './small-edge.ts';
import { ASK } from './small-request.ts';

const bindings = env as unknown as Bindings;
const nano = (usd: number) => Math.round(usd * 1e9);
const NOON = Date.parse('2026-11-20T12:00:00Z');
const DAY = 86_400_000;

const admin = async () => bearerHeader(await createToken('root', ['admin']));

async function report(query: string, headers?: Record<string, string>) {
  const response = await smallEdge().fetch(`/usage${query}`, { headers: headers ?? (await admin()) });
  expect(response.status, query).toBe(200);
  return z.strictObject(usageReportSchema.shape).parse(await response.json());
}

interface Spent {
  day: number;
  model: string;
  conversation: string | null;
  cost: number;
}

let requests = 0;

/** Puts an account on the list, with rows that no request has made. */
async function spend(account: string, rows: readonly Spent[]): Promise<void> {
  disableAutomaticAlarms();
  await accountList.addName(bindings.STORE, account);
  await runInDurableObject(getAccountStub(bindings, {}, account), (ledger: Account) => {
    // The alarm of a ledger this old would let go of its rows.
    Object.assign(ledger, { now: () => NOON + 100 * DAY });
    for (const { day, model, conversation, cost } of rows) {
      requests += 1;
      settleInside(ledger, {
        requestId: `req_${String(requests).padStart(8, '0')}`,
        status: 'complete',
        cost,
        startedAt: NOON + day * DAY,
        tokens: { input: cost % 1_000, output: 1 },
        admittedFields: { route: 'messages', model, conversation },
      });
    }
  });
  // Its alarm would do this, and let go of rows.
  await runInDurableObject(getAccountStub(bindings, {}, account), (ledger: Account) =>
    ledger.reportSpendingToPool('deployment'),
  );
}

const row = fc.record({
  day: fc.integer({ min: 0, max: 3 }),
  model: fc.constantFrom('claude-haiku-5-5', 'claude-opus-5-5'),
  conversation: fc.constantFrom(null, 'c1', 'c2'),
  // Sums of dollars as floating point would lose the last digits of these.
  cost: fc.oneof(fc.integer({ min: 0, max: 1_000 }), fc.integer({ min: 0, max: 1e13 })),
});

describe('the usage of all accounts', () => {
  test('is the exact sum of each account’s usage, for any grouping and time range', async () => {
    const ledgers = fc.array(fc.array(row, { maxLength: 6 }), { minLength: 1, maxLength: 12 });
    const range = fc.constantFrom('', '&from=2026-11-21', '&to=2026-11-22', '&from=2026-11-21&to=2026-11-23');
    await tryAsyncCases(8, ledgers, range, async (accounts, days) => {
      await resetAll();
      for (const [index, rows] of accounts.entries()) await spend(`book-${index}`, rows);
      const from = days.includes('from') ? 1 : 0;
      const to = /to=2026-11-(\d\d)/.exec(days)?.[1];
      const end = to === undefined ? Number.POSITIVE_INFINITY : Number(to) - 20;
      const spent = accounts.flat().filter(({ day }) => day >= from && day < end);
      const expected = { cost: spent.reduce((sum, { cost }) => sum + cost, 0), requests: spent.length };
      for (const group of ['day', 'model', 'upstream'] as const) {
        const all = await report(`?group_by=${group}${days}`);
        // The very number, not one that is near it: nine decimals at most.
        expect(all.total).toMatchObject({ cost_usd: expected.cost / 1e9, requests: expected.requests });
        const own = await Promise.all(
          accounts.map((_, index) => report(`?account=book-${index}&group_by=${group}${days}`)),
        );
        expect(own.reduce((sum, { total }) => sum + nano(total.cost_usd), 0)).toBe(expected.cost);
        const keys = new Set(own.flatMap(({ data }) => data.map(({ key }) => key)));
        expect(new Set(all.data.map(({ key }) => key))).toEqual(keys);
        for (const { key, cost_usd, usage } of all.data) {
          const same = own.flatMap(({ data }) => data.filter((one) => one.key === key));
          expect(cost_usd).toBe(same.reduce((sum, one) => sum + nano(one.cost_usd), 0) / 1e9);
          expect(usage.input_tokens).toBe(same.reduce((sum, one) => sum + one.usage.input_tokens, 0));
        }
      }
    });
  });

  test('is ordered by time for days, and by cost for other groups', async () => {
    await spend('alice', [
      { day: 1, model: 'claude-haiku-5-5', conversation: 'c1', cost: 5 },
      { day: 0, model: 'claude-opus-5-5', conversation: null, cost: 7 },
    ]);
    await spend('bob', [{ day: 0, model: 'claude-haiku-5-5', conversation: 'c2', cost: 9 }]);
    const keys = async (query: string) => (await report(query)).data.map(({ key }) => key);
    expect(await keys('')).toEqual(['2026-11-20', '2026-11-21']);
    expect(await keys('?group_by=model')).toEqual(['claude-haiku-5-5', 'claude-opus-5-5']);
    expect(await keys('?group_by=prefix')).toEqual([null]);
    expect(await keys('?group_by=upstream')).toEqual([null]);
    expect(await keys('?group_by=conversation&account=alice')).toEqual([null, 'c1']);
  });

  test('lists accounts by cost for a day, and an account’s models by cost', async () => {
    await spend('alice', [
      { day: 0, model: 'claude-haiku-5-5', conversation: 'c1', cost: 500 },
      { day: 1, model: 'claude-haiku-5-5', conversation: 'c1', cost: 7 },
    ]);
    await spend('bob', [
      { day: 1, model: 'claude-haiku-5-5', conversation: 'c2', cost: 2 },
      { day: 1, model: 'claude-opus-5-5', conversation: 'c3', cost: 9 },
    ]);
    await accountList.addName(bindings.STORE, 'carol');
    const day = 'from=2026-11-21&to=2026-11-22';
    const who = await report(`?group_by=account&${day}`);
    expect(who).toMatchObject({ from: '2026-11-21', to: '2026-11-22', group_by: 'account' });
    expect(who.data.map(({ key, requests, cost_usd }) => [key, requests, nano(cost_usd)])).toEqual([
      ['bob', 2, 11],
      ['alice', 1, 7],
    ]);
    expect(who.total).toMatchObject({ requests: 3, cost_usd: 18e-9 });
    const first = await report(`?group_by=account&limit=1&${day}`);
    expect(first).toEqual({ ...who, data: who.data.slice(0, 1) });
    const ofOne = await report(`?account=bob&group_by=model&limit=1&${day}`);
    expect(ofOne).toMatchObject({ data: [{ key: 'claude-opus-5-5' }], total: { requests: 2 } });
    const what = await report(`?account=bob&group_by=model&${day}`);
    expect(what.data.map(({ key }) => key)).toEqual(['claude-opus-5-5', 'claude-haiku-5-5']);
    const csv = await smallEdge().fetch(`/usage?group_by=account&${day}&format=csv`, { headers: await admin() });
    expect((await csv.text()).split('\r\n').map((line) => line.split(',')[0])).toEqual(['account', 'bob', 'alice', '']);
    expect((await report(`?group_by=group&${day}`)).data.map(({ key }) => key)).toEqual([null]);
    expect((await report('?group_by=account&group=red')).data).toEqual([]);
    // Only the ledger of an account knows its conversations and tools, and not which group has paid.
    for (const query of ['group_by=conversation&group=red', 'group_by=tool&group=red']) {
      const response = await smallEdge().fetch(`/usage?${query}`, { headers: await admin() });
      expect({ status: response.status, ...(await readError(response)) }).toMatchObject({
        status: 400,
        message: expect.stringContaining('group: not supported') as string,
      });
    }
    const alice = bearerHeader(await createToken('alice'));
    expect((await smallEdge().fetch('/usage?group_by=account', { headers: alice })).status).toBe(403);
    const named = await smallEdge().fetch('/usage?group_by=account&account=bob', { headers: await admin() });
    expect(named.status).toBe(400);
  });

  test('is returned only to admins, and others see their own usage', async () => {
    await spend('alice', [{ day: 0, model: 'claude-haiku-5-5', conversation: 'c1', cost: 5 }]);
    await spend('bob', [{ day: 0, model: 'claude-haiku-5-5', conversation: 'c1', cost: 9 }]);
    const alice = bearerHeader(await createToken('alice', []));
    expect(nano((await report('', alice)).total.cost_usd)).toBe(5);
    expect(nano((await report('?account=alice', alice)).total.cost_usd)).toBe(5);
    expect(nano((await report('')).total.cost_usd)).toBe(14);
    expect(nano((await report('?account=bob')).total.cost_usd)).toBe(9);
  });
});

describe('a time range with a time of day', () => {
  const minutes = fc.integer({ min: 0, max: 4 * 24 * 60 });
  const asked = fc.record({
    minute: minutes,
    tag: fc.constantFrom(undefined, 'a', 'b', 'a,b'),
    conversation: fc.constantFrom(undefined, 'c1', 'c2'),
    cost: fc.integer({ min: 1, max: 1e12 }),
  });

  test('is exact in the usage of one account, and rounded to whole days in the usage of all', async () => {
    await tryAsyncCases(
      25,
      fc.array(asked, { minLength: 1, maxLength: 12 }),
      minutes,
      minutes,
      async (all, one, two) => {
        await resetAll();
        disableAutomaticAlarms();
        const start = Date.parse('2026-11-20');
        await runInDurableObject(getAccountStub(bindings, {}, 'alice'), (ledger: Account) => {
          Object.assign(ledger, { now: () => NOON + 100 * DAY });
          for (const { minute, tag, conversation = null, cost } of all) {
            requests += 1;
            settleInside(ledger, {
              requestId: `req_${String(requests).padStart(8, '0')}`,
              status: 'complete',
              cost,
              startedAt: start + minute * 60_000,
              tokens: { input: 1, output: 1 },
              admittedFields: { route: 'messages', model: 'claude-haiku-5-5', conversation, dimensions: { tags: tag } },
            });
          }
        });
        await runInDurableObject(getAccountStub(bindings, {}, 'alice'), (ledger: Account) =>
          ledger.reportSpendingToPool('deployment'),
        );
        const [from, to] = [Math.min(one, two), Math.max(one, two)];
        const iso = (minute: number) => new Date(start + minute * 60_000).toISOString();
        const between = (first: number, end: number) => all.filter(({ minute }) => minute >= first && minute < end);
        const sum = (rows: typeof all) => rows.reduce((total, { cost }) => total + cost, 0);
        const exact = between(from, to);
        for (const group of ['day', 'model', 'conversation', 'tag', 'tool']) {
          const { total, data } = await report(`?account=alice&from=${iso(from)}&to=${iso(to)}&group_by=${group}`);
          expect(nano(total.cost_usd), group).toBe(sum(exact));
          if (group === 'tag') {
            const ofA = exact.filter(({ tag }) => tag?.includes('a'));
            expect(nano(data.find(({ key }) => key === 'a')?.cost_usd ?? 0)).toBe(sum(ofA));
          }
        }
        const c1 = await report(`?account=alice&from=${iso(from)}&to=${iso(to)}&group_by=conversation&key=c1`);
        expect(nano(c1.total.cost_usd)).toBe(sum(exact.filter(({ conversation }) => conversation === 'c1')));
        const day = 24 * 60;
        const whole = await report(`?from=${iso(from)}&to=${iso(to)}`);
        const [first, end] = [Math.floor(from / day) * day, Math.ceil(to / day) * day];
        expect(nano(whole.total.cost_usd)).toBe(sum(between(first, end)));
        expect([whole.from, whole.to]).toEqual([iso(first).slice(0, 10), iso(end).slice(0, 10)]);
      },
    );
  });
});

test.each([
  ['an account', '&account=alice'],
  ['an account, between times of a day', '&account=alice&from=2026-11-20T06:00:00Z&to=2026-11-21T06:00:00Z'],
  ['all accounts', ''],
])('with `key`, the usage of %s sums all versions of a name, or one version', async (_, rest) => {
  const prefixes = { 'support@1': 1, 'support@2': 20, 'support-2@1': 300, other: 4_000 };
  disableAutomaticAlarms();
  await accountList.addName(bindings.STORE, 'alice');
  await runInDurableObject(getAccountStub(bindings, {}, 'alice'), (ledger: Account) => {
    Object.assign(ledger, { now: () => NOON });
    for (const [prefix, cost] of Object.entries(prefixes))
      settleInside(ledger, {
        requestId: `req_${prefix}`,
        status: 'complete',
        cost,
        startedAt: NOON,
        tokens: { input: 1, output: 1 },
        admittedFields: { route: 'messages', model: 'claude-haiku-5-5', dimensions: { prefix } },
      });
  });
  await runInDurableObject(getAccountStub(bindings, {}, 'alice'), (ledger: Account) =>
    ledger.reportSpendingToPool('deployment'),
  );
  const read = async (key: string) => {
    const { data, total } = await report(`?group_by=prefix&key=${encodeURIComponent(key)}${rest}`);
    expect(data.length).toBeLessThanOrEqual(1);
    return [data[0]?.key, total.requests, nano(total.cost_usd)];
  };
  expect(await read('support')).toEqual(['support', 2, 21]);
  expect(await read('support@2')).toEqual(['support@2', 1, 20]);
  expect(await read('other')).toEqual(['other', 1, 4_000]);
  expect(await read('suppor')).toEqual([undefined, 0, 0]);
});

test('includes unlisted groups in the total if there are more groups than the limit', async () => {
  const rows = Array.from({ length: 1_200 }, (_, i) => ({
    day: 0,
    model: 'claude-haiku-5-5',
    conversation: `c${i}`,
    cost: 1_000 + i,
  }));
  await spend('alice', rows);
  const { data, total } = await report('?account=alice&group_by=conversation');
  expect(data).toHaveLength(1_000);
  expect(data[0]?.key).toBe('c1199');
  expect({ requests: total.requests, cost: nano(total.cost_usd) }).toEqual({
    requests: 1_200,
    cost: rows.reduce((sum, { cost }) => sum + cost, 0),
  });
});

test('returns 400 and names the parameter for a malformed query', async () => {
  for (const [query, place] of [
    ['?from=yesterday', 'from'],
    ['?from=2026-11-31', 'from'],
    ['?to=2026-11-20T00:00', 'to'],
    ['?to=2026-11-31T00:00:00Z', 'to'],
    ['?to=2026-11-20T25:00:00Z', 'to'],
    ['?from=', 'from'],
    ['?group_by=colour', 'group_by'],
    ['?group_by=', 'group_by'],
    ['?limit=0', 'limit'],
    ['?limit=many', 'limit'],
  ] as const) {
    const response = await smallEdge().fetch(`/usage${query}`, { headers: await admin() });
    const { type, message } = await readError(response);
    expect({ query, status: response.status, type }).toEqual({ query, status: 400, type: 'invalid_request_error' });
    expect(message).toMatch(new RegExp(`^${place}: `));
  }
});

describe('a request in the ledger', () => {
  test('is found by the ID in its response, by its account and by an admin', async () => {
    const edge = smallEdge();
    const alice = bearerHeader(await createToken('alice'));
    const asked = await edge.post('/messages', ASK, alice);
    await edge.waitUntilSettled();
    const id = asked.headers.get('sluice-request-id');
    const find = async (query: string, headers: Record<string, string>) => {
      const response = await edge.fetch(`/usage/requests/${id}${query}`, { headers });
      return { status: response.status, body: (await response.json()) as unknown };
    };
    const own = await find('', alice);
    expect(own.status).toBe(200);
    expect(z.strictObject(ledgerRequestSchema.shape).parse(own.body)).toMatchObject({
      request_id: id,
      tries: [{ request_id: id }],
      status: 'complete',
      cost_usd: Number(asked.headers.get('sluice-cost-usd')),
    });
    // An admin is told whose it is.
    const told = { ...own, body: { ...(own.body as object), account: 'alice' } };
    expect(await find('?account=alice', await admin())).toEqual(told);
    expect(await find('', await admin())).toEqual(told);
    expect((await find('?account=bob', await admin())).status).toBe(404);
    expect((await find('', bearerHeader(await createToken('bob')))).status).toBe(404);
    const unknown = await edge.fetch('/usage/requests/req_unknown', { headers: alice });
    expect({ status: unknown.status, ...(await readError(unknown)) }).toMatchObject({
      status: 404,
      type: 'not_found_error',
    });
  });

  test('is listed newest first, in pages by ID', async () => {
    const edge = smallEdge();
    const alice = bearerHeader(await createToken('alice'));
    const ids: (string | null)[] = [];
    for (let i = 0; i < 5; i += 1) {
      ids.unshift((await edge.post('/messages', ASK, alice)).headers.get('sluice-request-id'));
      advanceClock(2);
    }
    await edge.waitUntilSettled();
    const page = async (query: string) => {
      const response = await edge.fetch(`/usage/requests${query}`, { headers: alice });
      const { data, ...rest } = (await response.json()) as { data: { request_id: string }[] };
      return { ids: data.map(({ request_id }) => request_id), ...rest };
    };
    const whole = { ids, has_more: false, first_id: ids[0], last_id: ids[4], account: 'alice' };
    expect(await page('')).toEqual(whole);
    expect(await page('?limit=2')).toEqual({ ...whole, ids: ids.slice(0, 2), has_more: true, last_id: ids[1] });
    expect(await page(`?limit=2&after_id=${ids[1]}`)).toMatchObject({ ids: ids.slice(2, 4), has_more: true });
    expect(await page(`?limit=2&after_id=${ids[3]}`)).toMatchObject({ ids: ids.slice(4), has_more: false });
    expect(await page(`?limit=2&before_id=${ids[3]}`)).toMatchObject({ ids: ids.slice(1, 3), has_more: true });
  });

  test('is in a list that names its account: an admin’s own by default, null for all accounts', async () => {
    const edge = smallEdge();
    expect((await edge.post('/messages', ASK, bearerHeader(await createToken('alice')))).status).toBe(200);
    await edge.waitUntilSettled();
    const ask = async (query: string) => await edge.fetch(`/usage/requests${query}`, { headers: await admin() });
    expect(await (await ask('')).json()).toMatchObject({ account: 'root', data: [] });
    expect(await (await ask('?account=alice')).json()).toMatchObject({
      account: 'alice',
      data: [{ status: 'complete' }],
    });
    expect(await (await ask('?outcome=refused')).json()).toMatchObject({ account: null });
  });
});
