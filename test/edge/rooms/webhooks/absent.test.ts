/** What was kept for webhooks, and is on its way to them, on an edge without their room. */

import {
  abortAllDurableObjects,
  createMessageBatch,
  getQueueResult,
  runDurableObjectAlarm,
  runInDurableObject,
} from 'cloudflare:test';
import { expect, test } from 'vitest';
import { consumeQueue } from '../../../../src/edge/kit/delivery/queue.ts';
import type { Account } from '../../../../src/edge/money/account/account.ts';
import { webhooksRoom } from '../../../../src/edge/rooms/webhooks/room.ts';
import { bindings } from '../../../support/conversations.ts';
import { trackedContext } from '../../../support/in-flight.ts';
import { accountOf, eventOf, inboxOf, worksOf } from '../../../support/webhooks.ts';
import { withoutRooms } from '../../../support/without-room.ts';
import { admitInside, worstCaseWith } from '../../money/account/admission-requests.ts';

const inAccount = async <T>(does: (account: Account, storage: DurableObjectStorage) => T) =>
  await runInDurableObject(accountOf('alice') as unknown as DurableObjectStub<Account>, (account, { storage }) =>
    does(account, storage),
  );
const alarmOf = async () => await inAccount((_, storage) => storage.getAlarm());

/** Has the account spend all of a limit that has alerts. It has no inbox to call. */
async function spendAll(): Promise<void> {
  await inAccount((account) => {
    const inside = account as unknown as { env: Record<string, unknown> };
    inside.env = { ...inside.env, INBOX: undefined, QUEUE: undefined };
    account.setLimits({ usd_per_day: 1e-5, alerts: [0.5], on_shortfall: 'refuse' });
    const asking = { requestId: 'req_1', route: 'messages', model: 'claude-opus-5-5' };
    admitInside(account, { ...asking, bound: worstCaseWith(), defaults: {} });
    account.settle({ requestId: 'req_1', status: 'complete', cost: 9_000 });
  });
}

test('an alert is forgotten: nobody tries for ever to send it, and it does not come when the room is back', async () => {
  const works = worksOf();
  const again = withoutRooms(webhooksRoom);
  await spendAll();
  await runDurableObjectAlarm(accountOf('alice') as unknown as DurableObjectStub<Account>);
  expect(await alarmOf()).toBeGreaterThan(works.clock.now + 60_000);
  again();
  await abortAllDurableObjects();
  await inAccount((account) => account.patchLimits({ usd_per_day: 1e-5 }));
  await runDurableObjectAlarm(accountOf('alice') as unknown as DurableObjectStub<Account>);
  expect((await inboxOf('alert').alerts({ limit: 100 })).data).toEqual([]);
});

test('an account of whose events an inbox has had is erased to its end', async () => {
  worksOf();
  await inboxOf('github').accept(eventOf('github_1', 'It crashes', 'alice'));
  await inAccount((account) => account.noteInbox('github'));
  withoutRooms(webhooksRoom);
  await abortAllDurableObjects();
  expect(await inAccount((account) => account.erase())).toEqual({ done: false, remaining: 1 });
  await runDurableObjectAlarm(accountOf('alice') as unknown as DurableObjectStub<Account>);
  expect(await inAccount((account) => account.erase())).toEqual({ done: true, remaining: 0 });
});

test('what is on the queue comes again, so that it ends in the second queue, where nothing is lost', async () => {
  withoutRooms(webhooksRoom);
  const ids = ['github_1', 'github_2'];
  const messages = ids.map((body, at) => ({ id: `m${at}`, timestamp: new Date(), attempts: 1, body }));
  const batch = createMessageBatch<string>('sluice-webhooks', messages);
  const ctx = trackedContext('a batch of the queue');
  await consumeQueue(batch, bindings, ctx);
  const { retryBatch, explicitAcks } = await getQueueResult(batch, ctx);
  expect([retryBatch.retry, explicitAcks]).toEqual([true, []]);
});
