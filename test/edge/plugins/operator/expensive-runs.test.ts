import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import { beforeEach, expect, test } from 'vitest';
import { buildVisitorAccount } from '#edge/auth/identity/identity.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { createLowestRequestId } from '#edge/kit/http/headers/request-id.ts';
import type { Account } from '#edge/money/account/account.ts';
import { admitInside, settleInside, worstCaseWith } from '#test/edge/money/account/admission-requests.ts';
import { bindings } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { createWebhookWorks, getInbox } from '#test/support/webhooks.ts';

const LIMIT = 100_000;
const VISITOR = buildVisitorAccount('0'.repeat(32));
const usd = (nanodollars: number) => nanodollars / 1e9;
const stub = (account = 'alice') => getAccountStub(bindings, {}, account);
const alerts = async () => (await getInbox('alert').listAlerts({ limit: 10 })).data;

let requests = 0;
let clock: { now: number };

beforeEach(() => {
  clock = createWebhookWorks().clock;
});

interface Spent {
  conversation?: string;
  /** The conversation of which this one is a subagent's. */
  parent?: string;
  account?: string;
}

/** Has a conversation spend so many nanodollars. */
async function spend(cost: number, { conversation, parent, account }: Spent = {}): Promise<void> {
  requests += 1;
  await runInDurableObject(stub(account), (object: Account) => {
    // The ledger finds the requests of a day by their ids.
    const requestId = createLowestRequestId(clock.now) + String(requests).padStart(16, '0');
    const asking = { requestId, route: 'messages', model: 'claude-opus-5-5', conversation };
    const of = parent === undefined ? {} : { parent: { conversation: parent, toolUseId: 'toolu_1' } };
    admitInside(object, { ...asking, ...of, maximumCost: worstCaseWith(), defaults: {} });
    const fields = conversation === undefined ? {} : { admittedFields: { conversation } };
    settleInside(object, { requestId, status: 'complete', cost, ...fields });
  });
}

test('a conversation that spends over half of its account’s daily limit raises one alert a day, despite crashes', async () => {
  await stub().setLimits({ usd_per_day: usd(LIMIT) });
  for (let nth = 0; nth < 5; nth += 1) await spend(10_000, { conversation: 'conv_a' });
  await spend(3_000, { conversation: 'conv_b' });
  expect(await alerts()).toEqual([]);
  await spend(5_000, { conversation: 'conv_a' });
  const alert = {
    kind: 'run_expensive',
    node: { type: 'account', id: 'alice' },
    limit: 'usd_per_day',
    threshold: 0.5,
    limit_usd: usd(LIMIT),
    settled_usd: usd(55_000),
    subject: 'conv_a',
  };
  await eventually(async () => expect(await alerts()).toMatchObject([alert]));
  await abortAllDurableObjects();
  await spend(5_000, { conversation: 'conv_a' });
  await abortAllDurableObjects();
  await spend(5_000, { conversation: 'conv_a' });
  await runInDurableObject(stub(), (object: Account) => object.alarm());
  expect(await alerts()).toHaveLength(1);
  clock.now += 86_400_000;
  for (let nth = 0; nth < 6; nth += 1) await spend(9_000, { conversation: 'conv_a' });
  await eventually(async () => expect(await alerts()).toMatchObject([{ ...alert, settled_usd: usd(54_000) }, alert]));
});

test('spending of a run’s subagents counts towards the run’s, also that of their own subagents', async () => {
  await stub().setLimits({ usd_per_day: usd(LIMIT) });
  await spend(9_000, { conversation: 'conv_run' });
  for (let nth = 0; nth < 4; nth += 1) {
    await spend(5_000, { conversation: `conv_sub_${nth}`, parent: 'conv_run' });
    await spend(5_000, { conversation: `conv_sub_sub_${nth}`, parent: `conv_sub_${nth}` });
  }
  expect(await alerts()).toEqual([]);
  await spend(5_000, { conversation: 'conv_sub_sub_0', parent: 'conv_sub_0' });
  await eventually(async () =>
    expect(await alerts()).toMatchObject([{ subject: 'conv_run', settled_usd: usd(54_000) }]),
  );
});

test('small conversations, requests without one, visitors and accounts without a daily limit raise no alert', async () => {
  for (const account of ['alice', VISITOR]) await stub(account).setLimits({ usd_per_day: usd(LIMIT) });
  for (let nth = 0; nth < 4; nth += 1) {
    await spend(9_000);
    await spend(9_000, { conversation: `conv_${nth}` });
    for (const account of [VISITOR, 'bob']) await spend(18_000, { conversation: 'conv_a', account });
  }
  for (const account of ['alice', VISITOR, 'bob'])
    await runInDurableObject(stub(account), (object: Account) => object.alarm());
  expect(await alerts()).toEqual([]);
});
