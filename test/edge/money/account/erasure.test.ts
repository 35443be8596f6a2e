import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect, test, vi } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { Account } from '#edge/money/account/account.ts';
import type { BatchDecision, BatchOrder } from '#edge/plugins/batches/contracts/batch.ts';
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
  const order: BatchOrder = {
    ...{ batch: 'msgbatch_1', requestId: 'req_batch', items: 1, rows, models: [[MODEL]] },
    ...{ known: true, digest: 'one', repeats: false, dryRun: false },
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

test('objects of plugins are asked to erase what they keep, and what is not done yet stays listed', async () => {
  const pass = await fill();
  const asked: unknown[] = [];
  let left = 1;
  vi.spyOn(bindings.BATCH, 'get').mockReturnValue({ erase: async () => void asked.push('batch') } as never);
  const erase = async (...of: unknown[]) => {
    asked.push(of);
    return { remaining: left-- };
  };
  vi.spyOn(bindings.INBOX, 'get').mockReturnValue({ erase } as never);
  const until = pass(1_000);
  await stub().erase();
  for (let round = 0; round < 4; round += 1) {
    pass(60_000);
    await ring();
  }
  expect(asked).toEqual([['alice', until], 'batch', ['alice', until]]);
});

test('what a batch holds and nobody settles is settled at its hold after 35 days', async () => {
  const pass = await fill();
  pass(35 * DAY - 1);
  await ring();
  expect((await stub().quota({})).total.held_usd).toBe(usd(20_000));
  pass(1);
  await ring();
  expect((await stub().quota({})).total).toMatchObject({ held_usd: 0, settled_usd: usd(20_000) });
});
