/** What the last release has left: its objects have their results, and what ran there ends. */

import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { beforeEach, expect, test, vi } from 'vitest';
import { DAY_MS, MINUTE_MS } from '../../../../src/edge/kit/async/durations.ts';
import type { Bindings } from '../../../../src/edge/kit/objects/bindings.ts';
import { accountStub, classificationStub } from '../../../../src/edge/kit/objects/stubs.ts';
import { RESULTS_MS } from '../../../../src/edge/rooms/batches/journal.ts';
import { inputsOf, type JobEdge, jobEdge } from '../../../support/classification-jobs.ts';
import { alarmsByHand } from '../../../support/in-flight.ts';
import { bearer, tokenOf } from '../../../support/tokens.ts';

const bindings = env as unknown as Bindings;
/** The tables as the last release made them. */
const OLD_TABLES = `
  create table meta (key text primary key, value text not null) strict, without rowid;
  insert into meta (key, value) values ('schema_version', '1');
  create table record (one integer primary key check (one = 1), journal text not null) strict;
  create table inputs (n integer primary key, id text not null, item integer, fault text) strict;
  create table items (n integer primary key, hash text unique, known text, kept integer not null default 0) strict;
  create table texts (n integer primary key, text text not null) strict;
  create table votes (
    item integer not null, vote integer not null, answer text not null, primary key (item, vote)
  ) strict, without rowid;`;
const ID = `clsbatch_${'0'.repeat(26)}`;
const CLASSIFIER = { labels: [{ name: 'billing' }, { name: 'bug' }, { name: 'account' }] };
const job = () => classificationStub(bindings, {}, { account: 'ada', id: ID });

beforeEach(() => {
  alarmsByHand();
});

/** Leaves an object as the last release had it: of three inputs the second has a fault, the third the answer of the first. */
async function leave(phase: string, more: object = {}): Promise<void> {
  const now = Date.now();
  const counts = { inputs: 3, cached: 0, repeated: 1, requests: 1, labelled: 0, failed: 0 };
  const opening = { classifier: CLASSIFIER, structured: true, votes: 1, cacheSeconds: 0, model: 'm', version: null };
  const journal = { id: ID, account: 'ada', batch: 'msgbatch_x', digest: 'd', ...opening, phase, counts };
  const text = JSON.stringify({ ...journal, createdAt: now, touchedAt: now, recalledTo: -1, ...more });
  await accountStub(bindings, {}, 'ada').noteClassification(ID, true);
  await runInDurableObject(job(), async (_, { storage }) => {
    await storage.setAlarm(now + DAY_MS);
    storage.sql.exec(OLD_TABLES);
    storage.sql.exec('insert into record values (1, ?)', text);
    const fault = JSON.stringify({ type: 'invalid_request_error', message: 'input: it is empty.' });
    storage.sql.exec(`insert into inputs values (0, '"a"', 0, null), (1, '"b"', null, ?), (2, '"c"', 0, null)`, fault);
    storage.sql.exec("insert into items values (0, 'h', null, 0)");
  });
  await abortAllDurableObjects();
}

async function addVote(): Promise<void> {
  await runInDurableObject(job(), (_, { storage }) => {
    storage.sql.exec('insert into votes values (0, 0, ?)', JSON.stringify({ labels: ['bug'], fields: null }));
  });
}

const listed = async () =>
  await runInDurableObject(accountStub(bindings, {}, 'ada'), (_, { storage }) =>
    storage.sql.exec('select id from classifications').toArray(),
  );

async function statusOf(edge: JobEdge, path = ''): Promise<number> {
  const response = await edge.app.fetch(`/classifications/${ID}${path}`, {
    headers: bearer(await tokenOf('ada', ['classify'])),
  });
  await response.text();
  return response.status;
}

test('results of the last release are read, as long as they were promised, and erased with their account', async () => {
  const edge = jobEdge();
  await leave('ended', {
    endedAt: Date.now(),
    cost: 5_000,
    counts: { inputs: 3, labelled: 2, failed: 1, requests: 1 },
  });
  await addVote();
  const report = await edge.read(ID);
  expect(report).toMatchObject({ status: 'ended', batch: 'msgbatch_x', cost_usd: 0.000005, counts: { labelled: 2 } });
  const { rows, summary } = await edge.resultsOf(report);
  expect(rows).toMatchObject([
    { id: 'a', label: 'bug', cached: false, error: null },
    { id: 'b', label: null, error: { message: 'input: it is empty.' } },
    { id: 'c', label: 'bug', cached: true },
  ]);
  expect(summary.cost_usd).toBe(0.000005);
  await runDurableObjectAlarm(job());
  expect(await statusOf(edge)).toBe(200);
  edge.pass(RESULTS_MS + MINUTE_MS);
  await runDurableObjectAlarm(job());
  expect(await statusOf(edge)).toBe(404);
  expect(await listed()).toEqual([]);
});

test('what runs there ends with the results of its batch, and is told', async () => {
  const edge = jobEdge({
    DELIVER_HOSTS: 'a.test',
    DELIVERY_SIGNING_SECRET: 'whsec_dGhlIHNlY3JldCBvZiB0aGUgZGVsaXZlcmllcyBvZiB0ZXN0cw==',
  });
  const told: string[] = [];
  vi.spyOn(globalThis, 'fetch').mockImplementation(async (_, init) => {
    told.push((JSON.parse(await new Response(init?.body).text()) as { event_id: string }).event_id);
    return new Response(null, { status: 204 });
  });
  // Any batch does: what the last release has sent up has a mark behind its ids.
  const made = await edge.begin({ inputs: inputsOf(1), deliver_url: 'https://a.test/' });
  await leave('sending', { batch: made.batch, deliverUrl: 'https://a.test/' });
  expect(await statusOf(edge)).toBe(404);
  await runDurableObjectAlarm(job());
  expect(await edge.read(ID)).toMatchObject({ status: 'in_progress' });
  const { cost_usd } = await edge.finish(made);
  await runDurableObjectAlarm(job());
  const report = await edge.read(ID);
  expect(report).toMatchObject({ status: 'ended', cost_usd, counts: { labelled: 2, failed: 1, processing: 0 } });
  expect(report.usage?.input_tokens).toBeGreaterThan(0);
  expect((await edge.resultsOf(report)).rows.map(({ label }) => label)).toEqual(['billing', null, 'billing']);
  await runDurableObjectAlarm(job());
  await edge.wake();
  expect(told.sort()).toEqual([`evt_${ID}`, `evt_${made.id}`].sort());
});

test('what runs there without a batch ends, and each input says so', async () => {
  const edge = jobEdge();
  await leave('running');
  await runDurableObjectAlarm(job());
  expect(await edge.read(ID)).toMatchObject({ status: 'ended', cost_usd: null, counts: { labelled: 0, failed: 3 } });
});

test('what was being made there is forgotten', async () => {
  const edge = jobEdge();
  await leave('taking');
  await runDurableObjectAlarm(job());
  expect(await listed()).toEqual([{ id: ID }]);
  edge.pass(DAY_MS);
  await runDurableObjectAlarm(job());
  expect(await listed()).toEqual([]);
  await runInDurableObject(job(), async (_, { storage }) => {
    expect([...storage.sql.exec("select name from sqlite_master where name = 'record'")]).toEqual([]);
    expect(await storage.getAlarm()).toBeNull();
  });
});
