import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect, test } from 'vitest';
import type { DurableObjectServices } from '#edge/durable/edge-object.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Account } from '#edge/money/account/account.ts';
import { AccountState } from '#edge/money/account/account-state.ts';
import { decideAdmission } from '#edge/money/account/decide-admission.ts';
import { settleHold } from '#edge/money/account/settle-hold.ts';
import { requireAdmittedDecision } from '#edge/money/admission/request-admission.ts';
import type { AdmissionDecision } from '#edge/money/contracts/admission.ts';
import { admitBatch } from '#edge/plugins/batches/admit-batch.ts';
import { settleInside, worstCaseWith } from '#test/edge/money/account/admission-requests.ts';
import { createTestApp } from '#test/support/app.ts';
import { bindings, countWrittenRows } from '#test/support/conversations.ts';
import { disableAutomaticAlarms } from '#test/support/pending-work.ts';
import { MODEL, SMALL_MESSAGE } from '#test/support/small-message.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';

const ask = { model: MODEL, max_tokens: 300, messages: [{ role: 'user', content: 'Hi' }] };
const answer = () => Response.json(SMALL_MESSAGE);

type Counted = Record<'ACCOUNT' | 'POOL', string[]>;

/** A binding whose objects note the methods that are called. */
function counting(binding: keyof Counted, calls: Counted) {
  const namespace = (env as unknown as Record<keyof Counted, DurableObjectNamespace>)[binding];
  return {
    idFromName: (name: string) => namespace.idFromName(name),
    get: (id: DurableObjectId) =>
      new Proxy(namespace.get(id), {
        get: (object, method) => {
          const value: unknown = Reflect.get(object, method);
          if (typeof value !== 'function' || typeof method !== 'string') return value;
          return (...args: unknown[]): unknown => {
            calls[binding].push(method);
            return Reflect.apply(value, object, args);
          };
        },
      }),
  };
}

const account = () => getAccountStub(bindings, {}, 'alice') as unknown as DurableObjectStub<Account>;

/** What the third request of an account costs, and what its object asks pools from the first on. */
async function costOf(vars: Record<string, string>) {
  const calls: Counted = { ACCOUNT: [], POOL: [] };
  const app = createTestApp(answer, { ...DEPLOYED_VARS, ...vars, ACCOUNT: counting('ACCOUNT', calls) });
  await runInDurableObject(account(), (object) => {
    const inside = object as unknown as { env: object };
    inside.env = { ...inside.env, POOL: counting('POOL', calls) };
  });
  // A credential that was not seen before would be a row.
  const credential = bearerHeader(await createToken('alice'));
  const post = async () => {
    const response = await app.post('/v1/messages', ask, credential);
    expect(response.status).toBe(200);
    await response.text();
    await app.waitUntilSettled();
  };
  await post();
  const rows = await countWrittenRows(account());
  await post();
  const before = rows();
  calls.ACCOUNT.length = 0;
  await post();
  return { calls, rows: rows() - before };
}

test('without shared budgets a request makes two account calls, writes two rows, and calls no pool', async () => {
  disableAutomaticAlarms();
  const { calls, rows } = await costOf({});
  expect(calls).toEqual({ ACCOUNT: ['admitJson', 'settleJson'], POOL: [] });
  expect(rows).toBe(2);
  await runInDurableObject(account(), (_, { storage }) => {
    expect(storage.sql.exec("select key from meta where key = 'lease'").toArray()).toEqual([]);
  });
});

test('an account’s alarm reports spending once a minute, and again after a pool could not be reached', async () => {
  disableAutomaticAlarms();
  const { calls } = await costOf({});
  let now = Date.now();
  let isDown = false;
  await runInDurableObject(account(), (object) => {
    const inside = object as unknown as { env: { POOL: object }; now: () => number };
    const { POOL } = inside.env;
    const down = { get: () => ({ leaseJson: () => Promise.reject(new Error('internal error')) }) };
    inside.env = Object.defineProperty({ ...inside.env }, 'POOL', {
      get: () => (isDown ? { ...POOL, ...down } : POOL),
    });
    inside.now = () => now;
  });
  const ring = async () => {
    calls.POOL.length = 0;
    const rows = await countWrittenRows(account());
    await runInDurableObject(account(), (object) => object.alarm());
    return { calls: calls.POOL.length, rows: rows() };
  };
  const spend = async () => {
    await runInDurableObject(account(), (object) => {
      settleInside(object, { requestId: `req_unheld_${now}`, status: 'complete', cost: 5, startedAt: now });
    });
  };
  // The first call after a wake asks what the pool knows, under a number that is stored first. The other row is the next alarm.
  expect(await ring()).toEqual({ calls: 2, rows: 2 });
  await spend();
  now += 59_000;
  expect((await ring()).calls).toBe(0);
  now += 1_000;
  expect(await ring()).toEqual({ calls: 1, rows: 1 });
  now += 60_000;
  expect((await ring()).calls).toBe(0);
  await spend();
  isDown = true;
  expect((await ring()).calls).toBe(0);
  isDown = false;
  now += 60_000;
  expect((await ring()).calls).toBe(1);
});

test('with a shared budget a request makes the same two account calls and writes two rows, plus lease calls', async () => {
  const { calls, rows } = await costOf({ DEPLOYMENT_LIMITS: '{"usd_per_day":1}' });
  expect(calls.ACCOUNT).toEqual(['admitJson', 'settleJson']);
  expect(calls.POOL.length).toBeGreaterThan(0);
  expect(rows).toBe(2);
});

test('without the `pools` plugin the account pays, and requests that also need a pool are rejected', async () => {
  await runInDurableObject(account(), (object, ctx) => {
    const { services } = object as unknown as { services: DurableObjectServices };
    const state = new AccountState(ctx, services);
    const payers = state.payers.filter(({ leases }) => leases === undefined);
    expect(payers.flatMap(({ owners }) => owners)).toEqual(['account', 'token']);
    Object.assign(state, { sharedBudgets: undefined, payers });
    let asked = 0;
    const decide = (pools?: { deployment: boolean; group?: string }) => {
      asked += 1;
      const requestId = `req_${asked}`;
      return decideAdmission(state, {
        requestId,
        route: 'messages',
        model: MODEL,
        maximumCost: worstCaseWith(),
        pools,
      });
    };
    const row = { requestId: 'req_batch', model: MODEL, unpriced: false, items: 1, cost: 1 };
    const order = { batch: 'msgbatch_1', requestId: 'req_batch', items: 1, rows: [row], models: [[MODEL]] };
    const more = { known: true, digest: 'one', repeats: false, dryRun: false, pools: { deployment: true } };
    const unpayable = { outcome: 'unpayable' };
    expect(decide({ deployment: true })).toEqual(unpayable);
    expect(decide({ deployment: false, group: 'team' })).toEqual(unpayable);
    expect(admitBatch(state, { ...order, ...more })).toEqual(unpayable);
    state.storeChosenGroup('team');
    expect(decide()).toEqual(unpayable);
    expect(state.budget.holds.size).toBe(0);
    state.storeChosenGroup(undefined);
    const admitted = decide() as Extract<AdmissionDecision, { outcome: 'admitted' }>;
    expect(state.budget.windows.day).toMatchObject({ settled: 0, held: admitted.hold });
    settleHold(state, { requestId: `req_${asked}`, status: 'complete', cost: 7 });
    expect(state.budget.windows.day).toMatchObject({ settled: 7, held: 0 });
  });
  expect(() => requireAdmittedDecision({ outcome: 'unpayable' })).toThrow(
    expect.objectContaining({ status: 500, message: expect.stringContaining('`pools`') }),
  );
});
