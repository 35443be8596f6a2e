import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect, test, vi } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { Account } from '#edge/money/account/account.ts';
import type {
  BatchAdmissionRequest,
  BatchDecision,
  BatchSettlementRow,
} from '#edge/plugins/batches/contracts/batch.ts';
import { batches } from '#edge/plugins/batches/plugin.ts';
import { disableAutomaticAlarms } from '#test/support/pending-work.ts';
import { MODEL } from '#test/support/small-message.ts';
import { NOON } from './admission-requests.ts';

const bindings = env as unknown as Bindings;
const DAY = 86_400_000;
const usd = (nanodollars: number) => nanodollars / 1e9;
const stub = () => getAccountStub(bindings, {}, 'alice') as unknown as DurableObjectStub<Account>;
const inside = <T>(run: (account: Account) => T | Promise<T>) => runInDurableObject(stub(), run);
const ring = () => inside((account) => account.alarm());

/** An account that has something in objects of plugins. @returns what moves its clock */
async function fill(): Promise<(milliseconds: number) => number> {
  let clock = NOON;
  disableAutomaticAlarms();
  vi.spyOn(Date, 'now').mockImplementation(() => clock);
  const rows = [{ requestId: 'req_batch', model: MODEL, unpriced: false, items: 1, cost: 20_000 }];
  const order: BatchAdmissionRequest = {
    batch: 'msgbatch_1',
    requestId: 'req_batch',
    items: 1,
    rows,
    models: [[MODEL]],
    known: true,
    digest: 'one',
    repeats: false,
    dryRun: false,
  };
  await inside(async (account) => {
    account.setLimits({ usd_per_day: usd(100_000) });
    const decided = await account.admitBatchJson(JSON.stringify(order));
    expect((JSON.parse(decided) as BatchDecision).outcome).toBe('admitted');
    account.noteInbox('github');
  });
  return (milliseconds) => {
    clock += milliseconds;
    return clock;
  };
}

test('asks the objects of plugins to erase their data, and again those that have not finished', async () => {
  const pass = await fill();
  const asked: unknown[] = [];
  let left = 1;
  vi.spyOn(bindings.BATCH, 'get').mockReturnValue({ erase: async () => void asked.push('batch') } as never);
  const erase = async (...of: unknown[]) => {
    asked.push(of);
    return { done: left-- === 0 };
  };
  vi.spyOn(bindings.INBOX, 'get').mockReturnValue({ eraseAccountEvents: erase } as never);
  const until = pass(1_000);
  await stub().erase();
  for (let round = 0; round < 4; round += 1) {
    pass(60_000);
    await ring();
  }
  expect(asked).toEqual([['alice', until], 'batch', ['alice', until]]);
});

/** @returns the part of batches in accounts, with all of its hooks */
function batchesInAccounts() {
  const { erase, methods = {}, ...part } = batches.account ?? {};
  if (!batches.account || !erase) throw new TypeError('Batches have no part in accounts.');
  return Object.assign(batches.account, { ...part, erase, methods: { ...methods } });
}

test.each([
  [
    'throws',
    () => {
      throw new RangeError('broken');
    },
  ],
  ['rejects', () => Promise.reject(new RangeError('broken'))],
])('erases everything else while a plugin %s in `erase`, and calls the plugin again', async (_, fail) => {
  const pass = await fill();
  const logged = vi.spyOn(console, 'error').mockImplementation(() => {});
  const inboxes: unknown[] = [];
  const ofInbox = async (account: unknown) => {
    inboxes.push(account);
    return { done: true };
  };
  vi.spyOn(bindings.INBOX, 'get').mockReturnValue({ eraseAccountEvents: ofInbox } as never);
  const erase = vi.spyOn(batchesInAccounts(), 'erase').mockImplementation(fail);
  const listed = async () => (await inside((account) => account.batches({ limit: 10 }))).data.length;
  pass(1_000);
  expect(await stub().erase()).toMatchObject({ done: false });
  for (let round = 0; round < 3; round += 1) {
    pass(60_000);
    await ring();
  }
  expect(inboxes).toEqual(['alice']);
  expect(erase.mock.calls.length).toBeGreaterThan(1);
  expect(String(logged.mock.calls)).toContain('"task":"erasure","error":"RangeError"');
  expect(await stub().erase()).toMatchObject({ done: false });
  erase.mockResolvedValue(true);
  const asked = erase.mock.calls.length;
  for (let round = 0; round < 3; round += 1) {
    pass(60_000);
    await ring();
  }
  // Once it has erased, it is not asked again.
  expect(erase.mock.calls.length).toBe(asked + 1);
  expect(await listed()).toBe(0);
});

test('logs a failed write of the erasure list to KV, and retries it', async () => {
  const pass = await fill();
  const logged = vi.spyOn(console, 'error').mockImplementation(() => {});
  const put = vi.spyOn(bindings.STORE, 'put').mockRejectedValueOnce(new RangeError('broken'));
  pass(1_000);
  await stub().erase();
  pass(60_000);
  await ring();
  expect(put.mock.calls.map(([key]) => key)).toEqual(['erasure:alice', 'erasure:alice']);
  expect(String(logged.mock.calls)).toContain('"task":"erasure","error":"RangeError"');
});

test('rejects the call of a method in which a plugin throws, and the account keeps working', async () => {
  await fill();
  const { methods } = batchesInAccounts();
  const admit = vi.spyOn(methods, 'admitBatchJson').mockImplementation(() => {
    throw new RangeError('broken');
  });
  const held = async () => (await stub().getQuotaReport()).day.held_usd;
  const before = await held();
  const order = JSON.stringify({ batch: 'msgbatch_2' });
  await expect(inside((account) => account.admitBatchJson(order))).rejects.toThrow('broken');
  expect([await held(), (await stub().listRequests({ limit: 10 })).data.length]).toEqual([before, 1]);
  const settlement = { batch: 'msgbatch_1', startedAt: NOON, rows: [settledRow(7_000)] };
  await inside((account) => account.settleBatchJson(JSON.stringify(settlement)));
  expect((await stub().getQuotaReport()).day).toMatchObject({ held_usd: 0, settled_usd: usd(7_000) });
  admit.mockRestore();
});

const settledRow = (cost: number): BatchSettlementRow => ({
  requestId: 'req_batch',
  model: MODEL,
  status: 'complete',
  cost,
  estimated: false,
  tokens: {},
  outcomes: null,
});

test('settles a batch’s unsettled hold at its full amount after 35 days', async () => {
  const pass = await fill();
  pass(35 * DAY - 1);
  await ring();
  expect((await stub().getQuotaReport({})).total.held_usd).toBe(usd(20_000));
  pass(1);
  await ring();
  expect((await stub().getQuotaReport({})).total).toMatchObject({ held_usd: 0, settled_usd: usd(20_000) });
});
