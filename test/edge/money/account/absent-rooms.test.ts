/** What an account does with the rows of rooms that its edge is without. */
import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import Anthropic, { toFile } from '@anthropic-ai/sdk';
import { beforeEach, expect, test, vi } from 'vitest';
import { simulatorStoreIn } from '../../../../src/edge/claude/simulator-store.ts';
import { visitorAccount } from '../../../../src/edge/gate/identity/identity.ts';
import { type Settings, settingsOf } from '../../../../src/edge/gate/settings/settings.ts';
import { accountStub } from '../../../../src/edge/kit/objects/stubs.ts';
import { Account } from '../../../../src/edge/money/account/account.ts';
import type { Alert } from '../../../../src/edge/money/alerts/alerts-answers.schema.ts';
import { backupRoom } from '../../../../src/edge/rooms/backup/room.ts';
import type { BatchDecision, BatchOrder } from '../../../../src/edge/rooms/batches/contracts/batch.ts';
import { batchesRoom } from '../../../../src/edge/rooms/batches/room.ts';
import { classifyBatchesRoom } from '../../../../src/edge/rooms/classify-batches/room.ts';
import { filesRoom } from '../../../../src/edge/rooms/files/room.ts';
import { operatorRoom } from '../../../../src/edge/rooms/operator/room.ts';
import { poolsRoom } from '../../../../src/edge/rooms/pools/room.ts';
import { visitorsRoom } from '../../../../src/edge/rooms/visitors/room.ts';
import { webhooksRoom } from '../../../../src/edge/rooms/webhooks/room.ts';
import { errorOf, testApp } from '../../../support/app.ts';
import { bindings } from '../../../support/conversations.ts';
import { alarmsByHand } from '../../../support/in-flight.ts';
import { MODEL } from '../../../support/small-message.ts';
import { bearer, DEPLOYED, tokenOf } from '../../../support/tokens.ts';
import { withoutRooms } from '../../../support/without-room.ts';
import { admitInside, NOON, worstCaseWith } from './admission-requests.ts';

const DAY = 86_400_000;
const ABSENT = [
  batchesRoom,
  classifyBatchesRoom,
  filesRoom,
  operatorRoom,
  backupRoom,
  visitorsRoom,
  webhooksRoom,
] as const;
const SIMULATOR = { MODE: 'development', UPSTREAM: 'simulator' };
const SIMULATED = settingsOf({ ...SIMULATOR, STORE: bindings.STORE }, true);
const usd = (nanodollars: number) => nanodollars / 1e9;
const stub = (name = 'alice') => accountStub(bindings, {}, name) as unknown as DurableObjectStub<Account>;

let clock = NOON;

beforeEach(() => {
  clock = NOON;
  alarmsByHand();
  vi.spyOn(Date, 'now').mockImplementation(() => clock);
  vi.spyOn(Account.prototype as unknown as { settings(): Settings }, 'settings').mockReturnValue(SIMULATED);
});

const inside = <T>(run: (account: Account, state: DurableObjectState) => T | Promise<T>, name?: string) =>
  runInDurableObject(stub(name), run);
const ring = async (name?: string) => await inside((account) => account.alarm(), name);
const held = async () => (await stub().standing({})).day.held_usd;

const ORDER: BatchOrder = {
  batch: 'msgbatch_1',
  requestId: 'req_batch',
  items: 1,
  rows: [{ requestId: 'req_batch', model: MODEL, unpriced: false, items: 1, cost: 20_000 }],
  models: [[MODEL]],
  known: true,
  digest: 'one',
  repeats: false,
  dryRun: false,
};
const SETTLEMENT = JSON.stringify({
  batch: 'msgbatch_1',
  startedAt: NOON,
  rows: [
    {
      requestId: 'req_batch',
      model: MODEL,
      status: 'complete',
      cost: 7_000,
      estimated: false,
      tokens: { input: 5 },
      outcomes: { succeeded: 1 },
    },
  ],
});
const FILE = { id: 'file_1', bytes: 900, expiresAt: null, text: '{"id":"file_1"}' };

/** Has an account upload a file. */
async function upload(): Promise<void> {
  const app = testApp(() => Response.error(), { ...DEPLOYED, ...SIMULATOR, ANTHROPIC_API_KEY: undefined });
  const client = new Anthropic({
    apiKey: await tokenOf('alice'),
    baseURL: 'http://localhost:8787',
    maxRetries: 0,
    fetch: (url, init) => app.fetch(String(url), init),
  });
  await client.files.upload({ file: await toFile(new Uint8Array(100), 'a.bin') });
}

const filesUpstream = async () => (await simulatorStoreIn(bindings.STORE)?.keys('file:')) ?? [];

/** Has an account have something of each room. @returns what it tells of itself */
async function fill() {
  await inside(async (account) => {
    account.setLimits({ usd_per_day: usd(100_000), alerts: [0.5], on_shortfall: 'refuse' });
    const decided = await account.admitBatchJson(JSON.stringify(ORDER));
    expect((JSON.parse(decided) as BatchDecision).outcome).toBe('admitted');
    account.noteInbox('github');
    account.noteClassification('classification_1', true);
    account.beginUpload({ id: 'upload_1', upstream: '', bytes: 1_000, most: 5_000 });
    account.endUpload({ id: 'upload_1', upstream: '', at: clock, end: { outcome: 'made', file: FILE } });
    account.noteMade([{ id: 'container_1', kind: 'container', upstream: '', expiresAt: NOON + DAY }]);
    const ask = { route: 'messages', model: MODEL, defaults: {} };
    admitInside(account, { ...ask, requestId: 'req_large', bound: worstCaseWith({ inputCost: 90_000 }) });
    admitInside(account, { ...ask, requestId: 'req_small', bound: worstCaseWith() });
    account.settle({ requestId: 'req_small', status: 'complete', cost: 400 });
  });
  // A second is over, so the refusal is stored.
  await vi.waitFor(() => inside((_, { storage }) => rowsOf(storage, 'refusals', 1)));
  return await told();
}

function rowsOf(storage: DurableObjectStorage, table: string, count: number): void {
  expect([table, storage.sql.exec(`select * from ${table}`).toArray().length]).toEqual([table, count]);
}

async function told() {
  return await inside((account) => ({
    standing: account.standing({}),
    requests: account.requests({}),
    refusals: account.refusals({}),
    exported: account.exportRows(),
    tokens: account.tokens({}),
    belongings: account.belongings(['file_1', 'container_1']),
  }));
}

test('it wakes with them and tells of them; what only a room can do is a 409 that names it, and comes back with it', async () => {
  const before = await fill();
  expect(before.standing).toMatchObject({ day: { held_usd: usd(20_000) }, stored_bytes: { used: 900 } });
  expect(before.refusals.data).toMatchObject([{ request_id: 'req_large' }]);
  expect(before.exported.rows).toMatchObject([{ request_id: 'req_batch', batch: 'msgbatch_1', status: 'held' }, {}]);
  const again = withoutRooms(...ABSENT);
  await abortAllDurableObjects();
  expect(await told()).toEqual(before);
  await ring();
  expect(await told()).toEqual(before);
  const lacks = (room: string) =>
    expect.objectContaining({ status: 409, message: expect.stringContaining(`no room "${room}"`) });
  await inside((account) => {
    const file = { id: 'upload_2', upstream: '', bytes: 1, most: 1 };
    const batch = { ...ORDER, batch: 'msgbatch_2', requestId: 'req_2' };
    expect(() => account.admitBatchJson(JSON.stringify(batch))).toThrow(lacks('batches'));
    expect(() => account.batches({})).toThrow(lacks('batches'));
    expect(() => account.noteBatch('msgbatch_1', { id: 'msgbatch_1' } as never)).toThrow(lacks('batches'));
    expect(() => account.beginUpload(file)).toThrow(lacks('files'));
    expect(() => account.files({})).toThrow(lacks('files'));
    expect(() => account.describeFile(FILE)).toThrow(lacks('files'));
    expect(() => account.backupJson('alice')).toThrow(lacks('backup'));
    expect(() => account.restoreJson('{}', 'digest')).toThrow(lacks('backup'));
  });
  expect(await told()).toEqual(before);

  again();
  await abortAllDurableObjects();
  await inside((account) => {
    expect(account.files({}).data).toMatchObject([{ id: 'file_1' }]);
    account.noteBatch('msgbatch_1', { id: 'msgbatch_1' } as never);
    expect(account.batches({}).data).toEqual([{ id: 'msgbatch_1' }]);
    expect(JSON.parse(account.backupJson('alice'))).toMatchObject({ limits: { usd_per_day: usd(100_000) } });
  });
});

test('what a batch holds stays held without the room of batches, and is settled at what it cost', async () => {
  await fill();
  withoutRooms(...ABSENT);
  await abortAllDurableObjects();
  clock += DAY;
  await ring();
  expect((await stub().standing({})).total).toMatchObject({ held_usd: usd(20_000), settled_usd: usd(400) });
  for (let repeat = 0; repeat < 2; repeat += 1) {
    await inside((account) => account.settleBatchJson(SETTLEMENT));
    expect((await stub().standing({})).total).toMatchObject({ held_usd: 0, settled_usd: usd(7_400) });
  }
  const row = { status: 'complete', cost_usd: usd(7_000), batch: 'msgbatch_1', outcomes: { succeeded: 1 } };
  expect(await stub().request('req_batch')).toMatchObject(row);
});

test('what a batch holds and nobody settles is settled at its hold after 35 days, as with the room', async () => {
  await fill();
  withoutRooms(...ABSENT);
  await abortAllDurableObjects();
  clock += 35 * DAY - 1;
  await ring();
  expect((await stub().standing({})).total.held_usd).toBe(usd(20_000));
  clock += 1;
  await ring();
  expect((await stub().standing({})).total).toMatchObject({ held_usd: 0, settled_usd: usd(20_400) });
});

test('it is erased with them, its files upstream too, and waits for what is held', async () => {
  await upload();
  await fill();
  withoutRooms(...ABSENT);
  await abortAllDurableObjects();
  // Objects whose class is gone cannot be asked.
  const asked = [
    vi.spyOn(bindings.BATCH, 'get'),
    vi.spyOn(bindings.CLASSIFICATION, 'get'),
    vi.spyOn(bindings.INBOX, 'get'),
  ];
  expect(await filesUpstream()).toHaveLength(1);
  clock += 1_000;
  expect(await stub().erase()).toMatchObject({ done: false });
  for (let round = 0; round < 4; round += 1) {
    clock += 60_000;
    await ring();
  }
  expect(await filesUpstream()).toEqual([]);
  expect(await stub().erase()).toEqual({ done: false, remaining: 1 });
  expect(await held()).toBe(usd(20_000));
  await inside((account, { storage }) => {
    account.settleBatchJson(SETTLEMENT);
    expect(account.erase()).toEqual({ done: true, remaining: 0 });
    for (const table of ['batches', 'classifications', 'belongings', 'refusals', 'ledger']) rowsOf(storage, table, 0);
    expect(storage.sql.exec("select value from meta where key = 'inboxes'").toArray()).toEqual([]);
    expect(account.usage({ group_by: 'model' }).total.cost_usd).toBe(usd(7_400));
  });
  for (const spy of asked) expect(spy).not.toHaveBeenCalled();
});

test('with the rooms their objects are asked to erase what they keep, and what is not done yet stays listed', async () => {
  await fill();
  const asked: unknown[] = [];
  let left = 1;
  vi.spyOn(bindings.BATCH, 'get').mockReturnValue({ erase: async () => void asked.push('batch') } as never);
  vi.spyOn(bindings.CLASSIFICATION, 'get').mockReturnValue({ erase: async () => void asked.push('labels') } as never);
  const erase = async (...of: unknown[]) => {
    asked.push(of);
    return { remaining: left-- };
  };
  vi.spyOn(bindings.INBOX, 'get').mockReturnValue({ erase } as never);
  clock += 1_000;
  const until = clock;
  await stub().erase();
  for (let round = 0; round < 4; round += 1) {
    clock += 60_000;
    await ring();
  }
  expect(asked).toEqual(['batch', 'labels', ['alice', until], ['alice', until]]);
});

test('alerts that wait are kept until the room is back', async () => {
  const accepted: { text: string }[] = [];
  let isDown = true;
  const acceptAlert = async (event: { text: string }) => {
    if (isDown) throw new Error('internal error');
    accepted.push(event);
  };
  vi.spyOn(bindings.INBOX, 'get').mockReturnValue({ acceptAlert } as never);
  await fill();
  const spend = (cost: number) =>
    inside((account) => account.settle({ requestId: `req_${cost}`, status: 'complete', cost, startedAt: clock }));
  await spend(60_000);
  const again = withoutRooms(...ABSENT);
  await abortAllDurableObjects();
  isDown = false;
  await ring();
  await spend(30_000);
  expect(accepted).toEqual([]);
  again();
  await abortAllDurableObjects();
  await ring();
  expect(accepted.map(({ text }) => (JSON.parse(text) as Alert).kind).toSorted()).toEqual(['over_hold', 'threshold']);
});

test('a visitor’s account ends without the room of visitors', async () => {
  const visitor = visitorAccount('0'.repeat(32));
  await inside((account) => {
    const token = { jti: 'tok', iat: NOON / 1_000, exp: NOON / 1_000 + 3_600 };
    const ask = { requestId: 'req_1', route: 'messages', model: MODEL, defaults: {}, bound: worstCaseWith() };
    admitInside(account, { ...ask, token });
    account.settle({ requestId: 'req_1', status: 'complete', cost: 5 });
    account.noteInbox('github');
  }, visitor);
  withoutRooms(...ABSENT, poolsRoom);
  await abortAllDurableObjects();
  expect(await stub(visitor).isKnown()).toBe(true);
  for (let round = 0; round < 3; round += 1) {
    clock += 2 * DAY;
    await ring(visitor);
  }
  expect(await stub(visitor).isKnown()).toBe(false);
});

test('without pools sums of all accounts are a 409, and those of one account are told', async () => {
  const app = testApp(() => Response.error(), DEPLOYED);
  withoutRooms(poolsRoom);
  const headers = bearer(await tokenOf('root', ['admin']));
  for (const path of ['/usage?group_by=account', '/usage', '/usage/requests?status=refused']) {
    const response = await app.fetch(path, { headers });
    expect([path, response.status]).toEqual([path, 409]);
    expect((await errorOf(response)).message).toContain('no room "pools"');
  }
  expect((await app.fetch('/usage?account=nobody', { headers })).status).toBe(404);
  expect((await app.fetch('/usage?account=root', { headers })).status).toBe(200);
  expect((await app.fetch('/accounts/nobody', { headers })).status).toBe(404);
});
