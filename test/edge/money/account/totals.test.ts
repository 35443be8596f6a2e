import { abortAllDurableObjects, runDurableObjectAlarm } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import fc from 'fast-check';
import { beforeEach, expect, test } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Account } from '#edge/money/account/account.ts';
import { countWrittenRows } from '#test/support/conversations.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { resetAll } from '#test/support/reset.ts';
import { admitInside, settleInside, worstCaseWith } from './admission-requests.ts';
import { runInAccount } from './run-in-account.ts';

const bindings = env as unknown as { ACCOUNT: DurableObjectNamespace<Account> };
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const stub = () => getAccountStub(bindings, {}, 'alice');
const usd = (nanodollars: number) => nanodollars / 1e9;
const nano = (value: number) => Math.round(value * 1e9);

let clock = 0;
let ids = 0;

beforeEach(() => {
  // The alarm's time is real: a clock that is ahead keeps it from coming by itself.
  clock = Date.now() + 100 * DAY;
  clock -= clock % DAY;
});
async function inAccount<T>(run: (account: Account) => T | Promise<T>): Promise<T> {
  return await runInAccount(stub(), { now: () => clock, retentionDays: 1 }, run);
}

interface Asked {
  id: string;
  at: number;
  token: string | undefined;
  hold: number;
  cost: number | undefined;
}

interface Given {
  amount: number;
  spent: number;
  at: number;
  until: number;
}

const LIMITS = { usd_per_hour: usd(40_000), usd_total: usd(60_000), on_shortfall: 'refuse' as const };
const TOKEN_LIMIT = 30_000;

const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('ask' as const), token: fc.boolean() }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('settle' as const),
      which: fc.nat(20),
      cost: fc.integer({ min: 0, max: 13_000 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('again' as const), which: fc.nat(20) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('credit' as const),
      amount: fc.integer({ min: 1, max: 30_000 }),
      hours: fc.option(fc.integer({ min: 1, max: 40 }), { nil: undefined }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 5 * HOUR }) }),
  },
  // The alarm sums rows up and deletes those of the day before.
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('wake' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('crash' as const) }) },
);

test('counts an hour, all time, a token and expiring credit exactly, across crashes', async () => {
  await tryAsyncCases(caseCount(200), fc.array(step, { maxLength: 40 }), async (steps) => {
    await resetAll();
    const asked: Asked[] = [];
    const given: Given[] = [];
    const minted = { jti: 'limited', scopes: ['messages'], limits: { usd_total: usd(TOKEN_LIMIT) } };
    await inAccount((account) => account.recordMintedToken(minted));
    const sum = (some: Asked[]) => some.reduce((before, { cost = 0 }) => before + cost, 0);
    const held = (some: Asked[]) => some.reduce((all, { cost, hold }) => all + (cost === undefined ? hold : 0), 0);
    const credit = () => given.reduce((all, { amount, spent, until }) => all + (until <= clock ? spent : amount), 0);
    const inHour = ({ at }: Asked) => Math.floor(at / HOUR) === Math.floor(clock / HOUR);
    const byToken = ({ token }: Asked) => token !== undefined;
    const running = () => asked.filter(({ cost }) => cost === undefined);
    for (const next of steps) {
      if (next.kind === 'pass') clock += next.ms;
      else if (next.kind === 'crash') await abortAllDurableObjects();
      else if (next.kind === 'wake') {
        await inAccount(() => undefined);
        await runDurableObjectAlarm(stub());
        // Who has run for longer than a hold lasts is settled at it.
        for (const one of running()) if (one.at + 15 * 60_000 <= clock) settled(one, one.hold);
      } else if (next.kind === 'ask') {
        const token = next.token ? { jti: 'limited', iat: 1 } : undefined;
        ids += 1;
        const id = `req_${String(ids).padStart(12, '0')}`;
        const request = { requestId: id, route: 'messages', model: 'claude-opus-5-5', token, defaults: LIMITS };
        const answer = await inAccount((account) => admitInside(account, { ...request, maximumCost: worstCaseWith() }));
        const left = Math.min(
          nano(LIMITS.usd_per_hour) - sum(asked.filter(inHour)) - held(asked.filter(inHour)),
          nano(LIMITS.usd_total) + credit() - sum(asked) - held(asked),
          next.token ? TOKEN_LIMIT - sum(asked.filter(byToken)) - held(asked.filter(byToken)) : 1e15,
        );
        expect(answer.outcome).toBe(left >= 11_000 ? 'admitted' : 'refused');
        if (answer.outcome === 'admitted')
          asked.push({ id, at: clock, token: token?.jti, hold: answer.hold, cost: undefined });
      } else if (next.kind === 'credit') {
        const until = next.hours === undefined ? Number.POSITIVE_INFINITY : clock + next.hours * HOUR;
        const expiresAt = Number.isFinite(until) ? until : null;
        ids += 1;
        const credit = { id: `credit_${ids}`, key: `key ${ids}`, usd: usd(next.amount), expiresAt };
        // Given twice, it counts once.
        for (let i = 0; i < 2; i += 1) await inAccount((account) => account.giveCredit(credit));
        given.push({ amount: next.amount, spent: 0, at: clock, until });
      } else {
        const some = next.kind === 'settle' ? running() : asked.filter(({ cost }) => cost !== undefined);
        const one = some[next.which % Math.max(1, some.length)];
        if (!one) continue;
        const cost = next.kind === 'settle' ? next.cost : 1;
        const { outcome } = await inAccount((account) =>
          settleInside(account, { requestId: one.id, status: 'complete', cost }),
        );
        if (next.kind === 'settle') {
          expect(outcome).toBe('settled');
          settled(one, cost);
        } else if (outcome === 'late') correct(one, cost);
        else if (outcome === 'unheld') return;
        else expect(outcome).toBe('duplicate');
      }
      const { hour, total, token } = await inAccount((account) => account.getQuotaReport(LIMITS, 'limited'));
      expect({
        hour: [nano(hour.settled_usd), nano(hour.held_usd)],
        total: [nano(total.settled_usd), nano(total.held_usd), nano(total.credit_usd)],
        token: [nano(token?.settled_usd ?? -1), nano(token?.held_usd ?? -1)],
      }).toEqual({
        hour: [sum(asked.filter(inHour)), held(asked.filter(inHour))],
        total: [sum(asked), held(asked), credit()],
        token: [sum(asked.filter(byToken)), held(asked.filter(byToken))],
      });
    }

    function settled(one: Asked, cost: number): void {
      one.cost = cost;
      charge(one.at, cost);
    }

    function correct(one: Asked, cost: number): void {
      const more = cost - (one.cost ?? 0);
      one.cost = cost;
      charge(one.at, more);
    }

    function charge(at: number, cost: number): void {
      let rest = cost;
      const open = given.filter(({ at: since, until }) => Number.isFinite(until) && since <= at && at < until);
      open.sort((left, right) => left.until - right.until);
      for (const one of cost < 0 ? open.reverse() : open) {
        const taken = Math.max(-one.spent, Math.min(rest, one.amount - one.spent));
        one.spent += taken;
        rest -= taken;
      }
    }
  });
});

test('keeps an erased account’s total and hourly spending, and its credit', async () => {
  const ask = (id: string, size = {}) =>
    inAccount((account) =>
      admitInside(account, {
        requestId: id,
        route: 'messages',
        model: 'claude-opus-5-5',
        maximumCost: worstCaseWith(size),
        defaults: LIMITS,
      }),
    );
  await inAccount((account) => {
    account.giveCredit({ id: 'c1', usd: usd(5_000), expiresAt: null, note: 'for Alice' });
  });
  await ask('req_1');
  await inAccount((account) => settleInside(account, { requestId: 'req_1', status: 'complete', cost: 9_000 }));
  clock += 40 * DAY;
  await ask('req_2');
  await ask('req_3');
  await inAccount((account) => settleInside(account, { requestId: 'req_2', status: 'complete', cost: 7_000 }));
  await inAccount((account) => account.erase());
  clock += 1_000;
  await inAccount((account) => settleInside(account, { requestId: 'req_3', status: 'complete', cost: 500 }));
  await abortAllDurableObjects();
  const { hour, total } = await inAccount((account) => account.getQuotaReport(LIMITS));
  expect([nano(hour.settled_usd), nano(total.settled_usd), nano(total.credit_usd)]).toEqual([7_500, 16_500, 5_000]);
  const { data } = await inAccount((account) => account.listCredits({}, LIMITS));
  expect(data).toMatchObject([{ id: 'c1', note: null, usd: usd(5_000) }]);
});

test('counts and lists a conversation that is created again after its account was erased', async () => {
  const report = { id: 'c1', version: 1, createdAt: clock, updatedAt: clock, title: null, turns: 1, messages: 2 };
  const told = { ...report, bytes: 700, cost: 0, paused: null };
  await inAccount(async (account) => {
    account.noteConversation({ ...told, gone: false });
    expect(account.getQuotaReport(LIMITS).stored_bytes.used).toBe(700);
    await account.erase();
    account.noteConversation({ ...told, version: 2, gone: true });
    expect(account.getQuotaReport(LIMITS)).toMatchObject({ conversations: { used: 0 }, stored_bytes: { used: 0 } });
    clock += HOUR;
    const asking = {
      requestId: 'req_1',
      route: 'messages',
      model: 'claude-opus-5-5',
      conversation: 'c1',
      newCharacters: 1,
    };
    admitInside(account, { ...asking, maximumCost: worstCaseWith(), defaults: LIMITS });
    expect(account.getQuotaReport(LIMITS).conversations.used).toBe(1);
    expect(account.listConversations({}).data.map(({ id }) => id)).toEqual(['c1']);
  });
});

test('counts a settlement after its deadline once in all sums, and against the credit valid at admission', async () => {
  await inAccount((account) => account.giveCredit({ id: 'c1', usd: usd(50_000), expiresAt: clock + HOUR }));
  const asking = { requestId: 'req_1', route: 'messages', model: 'claude-opus-5-5' };
  await inAccount((account) => admitInside(account, { ...asking, maximumCost: worstCaseWith(), defaults: LIMITS }));
  const spent = async () => {
    const { data } = await inAccount((account) => account.listCredits({}, LIMITS));
    return nano(data[0]?.spent_usd ?? 0);
  };
  clock += HOUR;
  await inAccount((account) => account.alarm());
  const lost = await spent();
  // It sums up what is settled.
  await inAccount((account) => account.backupJson('alice'));
  await inAccount((account) => settleInside(account, { requestId: 'req_1', status: 'complete', cost: 500 }));
  expect([lost > 500, await spent()]).toEqual([true, 500]);
  const { total } = await inAccount((account) => account.getUsageReport({ group_by: 'model' }));
  expect([total.requests, nano(total.cost_usd)]).toEqual([1, 500]);
});

test('writes a further row per request for credit only if the credit expires, and none for a token’s limit', async () => {
  const credit = (id: string, expiresAt: number | null) =>
    inAccount((account) => account.giveCredit({ id, usd: usd(5_000), expiresAt }));
  await inAccount((account) =>
    account.recordMintedToken({ jti: 't1', scopes: ['messages'], limits: { usd_total: 1 } }),
  );
  const rows = await countWrittenRows(stub());
  const request = async (id: string) => {
    const before = rows();
    await inAccount((account) => {
      const asking = { requestId: id, route: 'messages', model: 'claude-opus-5-5', token: { jti: 't1', iat: 1 } };
      admitInside(account, { ...asking, maximumCost: worstCaseWith(), defaults: LIMITS });
      settleInside(account, { requestId: id, status: 'complete', cost: 500 });
    });
    return rows() - before;
  };
  await request('req_0');
  expect(await request('req_1')).toBe(2);
  await credit('c1', null);
  expect(await request('req_2')).toBe(2);
  await credit('c2', clock + DAY);
  expect(await request('req_3')).toBe(3);
});
