import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { FORMATS, type Format, type FormatName } from '../../../../src/edge/kit/objects/stored-format.ts';
import { accountStub } from '../../../../src/edge/kit/objects/stubs.ts';
import type { Account } from '../../../../src/edge/money/account/account.ts';
import { NO_FOLD } from '../../../../src/edge/money/ledger/recall.ts';
import type { Inbox } from '../../../../src/edge/rooms/webhooks/inbox/inbox.ts';
import { bindings, jsonOf, readOf, rowsOf, simulate, stubOf, turnNow } from '../../../support/conversations.ts';
import { changeProfile, changeTurns } from '../../../support/damage.ts';
import { say } from '../../../support/turns.ts';
import { eventOf, inboxOf, worksOf } from '../../../support/webhooks.ts';
import { admitAt, worstCaseWith } from '../../money/account/admission-requests.ts';

// What a later release may do to an object: this one has to go on with it after a rollback.

const alice = () => accountStub(bindings, {}, 'alice');
const ASK = { route: 'messages', model: 'claude-opus-5-5', bound: worstCaseWith(), defaults: {} };

/** The conversation as it is now. @throws Error with what was refused, where something was */
const readWhole = async () => await jsonOf(await stubOf().read());

/** These call inside of the object: there the test can catch what it throws. */
const standingInside = async () =>
  await runInDurableObject(alice() as unknown as DurableObjectStub<Account>, (account) => account.standing({}));
const eventInside = async () =>
  await runInDurableObject(inboxOf('github') as unknown as DurableObjectStub<Inbox>, (inbox) => inbox.read('github_1'));

/** Leaves an object as a later release could: a higher version, a column more in each table, members more in each JSON. */
async function grow(stub: unknown): Promise<void> {
  await runInDurableObject(stub as DurableObjectStub<undefined>, (_, { storage: { sql } }) => {
    const tables = sql
      .exec("select name from sqlite_master where type = 'table' and name not like '\\_%' escape '\\'")
      .toArray();
    for (const { name } of tables) {
      sql.exec(`alter table ${name} add column later text default 'of before'`);
      sql.exec(`update ${name} set later = 'of later'`);
    }
    sql.exec('create table later (id text primary key) strict, without rowid');
    sql.exec("insert or replace into meta (key, value) values ('schema_version', '1000'), ('later', 'x')");
    sql.exec("update meta set value = json_set(value, '$.later', 'x') where key in ('limits', 'fold')");
    if (!tables.some(({ name }) => name === 'turns')) return;
    const add = (members: object) => Object.assign(members, { later: 'x' });
    changeProfile(sql, add);
    for (const column of ['grant', 'outcome'] as const) changeTurns(sql, column, add);
  });
  await abortAllDurableObjects();
}

/** What stands in the column of a later release, in each row of a table. */
async function laterOf(stub: unknown, table: string): Promise<unknown[]> {
  return await runInDurableObject(stub as DurableObjectStub<undefined>, (_, { storage }) =>
    storage.sql
      .exec(`select later from ${table}`)
      .toArray()
      .map(({ later }) => later),
  );
}

test('a conversation of a later release is read and continued, and loses nothing of what only that release knows', async () => {
  simulate();
  await say({
    model: 'claude-opus-5-5',
    max_tokens: 50,
    system: 'Be brief.',
    messages: [{ role: 'user', content: 'A' }],
  });
  await grow(stubOf());
  expect(await rowsOf()).toHaveLength(2);
  await say({ messages: [{ role: 'user', content: 'B' }] });
  expect(await readOf()).toMatchObject({ turns: 2, messages: 4, system: 'Be brief.' });
  expect(await laterOf(stubOf(), 'turns')).toEqual(['of later', 'of before']);
  expect(await laterOf(stubOf(), 'messages')).toEqual(['of later', 'of later', 'of before', 'of before']);
  await runInDurableObject(stubOf(), (_, { storage }) => {
    const kept = storage.sql.exec("select value ->> '$.later' as later from meta where key = 'profile'").one();
    expect(kept).toEqual({ later: 'x' });
    const version = storage.sql.exec("select value from meta where key = 'schema_version'").one();
    expect(version).toEqual({ value: '1000' });
  });
});

test('an account of a later release decides, settles and stores', async () => {
  await alice().setLimits({ usd_per_day: 1, requests_per_minute: 60 });
  await admitAt(alice(), { ...ASK, requestId: 'req_1' });
  const version = { kind: 'prefix', name: 'p', bytes: new Uint8Array(3_000_000), description: null };
  await alice().putVersion({ ...version, hash: 'a'.repeat(32) } as Parameters<
    ReturnType<typeof alice>['putVersion']
  >[0]);
  await grow(alice());
  await alice().settle({ requestId: 'req_1', status: 'complete', cost: 5_000, tokens: { input: 9, output: 9 } });
  expect(await admitAt(alice(), { ...ASK, requestId: 'req_2' })).toMatchObject({ outcome: 'admitted' });
  await alice().settle({ requestId: 'req_2', status: 'complete', cost: 6_000, tokens: { input: 9, output: 9 } });
  await alice().putVersion({ ...version, hash: 'b'.repeat(32) } as Parameters<
    ReturnType<typeof alice>['putVersion']
  >[0]);
  expect(await alice().standing({})).toMatchObject({ own_limits: { usd_per_day: 1 }, day: { settled_usd: 0.000011 } });
  const { data } = await alice().requests({});
  expect(data.map(({ cost_usd }) => cost_usd)).toEqual([0.000006, 0.000005]);
  expect((await laterOf(alice(), 'ledger')).toSorted()).toEqual(['of before', 'of later']);
});

test('an inbox of a later release takes events, and has those from before', async () => {
  worksOf();
  await inboxOf('github').accept(eventOf('github_1'));
  await grow(inboxOf('github'));
  expect(await inboxOf('github').accept(eventOf('github_1'))).toMatchObject({ status: 'duplicate' });
  expect(await inboxOf('github').accept(eventOf('github_2'))).toMatchObject({ status: 'accepted' });
  expect(await inboxOf('github').read('github_1')).toMatchObject({ event_id: 'github_1' });
  expect(await laterOf(inboxOf('github'), 'events')).toEqual(['of later', 'of before']);
});

/** Forms of each object, with what raises one to its next version, and what reads it then. */
const raise = (members: object) => Object.assign(members, { v: 2 });
const by = (statement: string) => (sql: SqlStorage) => expect(sql.exec(statement).rowsWritten).toBeGreaterThan(0);
const LIMITS = "update meta set value = json_set(value, '$.v', 2) where key = 'limits'";
const FOLD = `insert into meta values ('fold', '${JSON.stringify({ ...NO_FOLD, v: 2 })}')`;
const EVENT = `update events set result = '{"v":2,"label":"bug"}'`;
const FORMS: [FormatName, () => unknown, (sql: SqlStorage) => void, (turn: string) => Promise<unknown>][] = [
  ['profile', stubOf, (sql) => changeProfile(sql, raise), readWhole],
  ['outcome', stubOf, (sql) => changeTurns(sql, 'outcome', raise), turnNow],
  ['limits', alice, by(LIMITS), standingInside],
  ['fold', alice, by(FOLD), standingInside],
  ['classification', () => inboxOf('github'), by(EVENT), eventInside],
];

test.each(FORMS)('a later form of %s is refused with what to do, and is read once a release can', async (...form) => {
  const [name, stub, change, read] = form;
  simulate();
  worksOf();
  const { turn } = await say({ model: 'claude-opus-5-5', max_tokens: 50, messages: [{ role: 'user', content: 'A' }] });
  await alice().setLimits({ usd_per_day: 1 });
  await inboxOf('github').accept(eventOf('github_1'));
  await runInDurableObject(stub() as DurableObjectStub<undefined>, (_, { storage: { sql } }) => change(sql));
  await abortAllDurableObjects();
  await expect(read(turn)).rejects.toThrow(/newer version of this edge/);
  const format: Format = FORMATS[name];
  format.reads = 2;
  try {
    await abortAllDurableObjects();
    await expect(read(turn)).resolves.toBeDefined();
  } finally {
    format.reads = 1;
  }
});
