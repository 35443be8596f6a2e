import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { beforeEach, expect, test } from 'vitest';
import { DAY_MS, MINUTE_MS } from '../../../../src/edge/kit/async/durations.ts';
import type { Bindings } from '../../../../src/edge/kit/objects/bindings.ts';
import { accountStub, batchStub } from '../../../../src/edge/kit/objects/stubs.ts';
import type { ClassificationReport } from '../../../../src/edge/named/classify/classifications-answers.schema.ts';
import { Batch } from '../../../../src/edge/rooms/batches/batch.ts';
import { LabelTables } from '../../../../src/edge/rooms/classify-batches/label-tables.ts';
import {
  around,
  inputsOf,
  type JobEdge,
  jobEdge,
  nanodollarsOf,
  paidBy,
} from '../../../support/classification-jobs.ts';
import { eventually } from '../../../support/eventually.ts';
import { alarmsByHand } from '../../../support/in-flight.ts';
import { holdStep } from '../../../support/steps.ts';

const bindings = env as unknown as Bindings;
const KEY = { 'idempotency-key': 'once' };
const INPUTS = inputsOf(7);
const VOTES = 2;

/** Another one in each test: what an object does behind a test's end is of no concern to the next. */
let account = '';
let tests = 0;
beforeEach(() => {
  tests += 1;
  account = `ada${tests}`;
  alarmsByHand();
});
const send = async (edge: JobEdge) => await edge.ask({ inputs: INPUTS, votes: VOTES }, account, KEY);

/** Lets time go by, and has everything done that is due then. */
async function pass(edge: JobEdge, milliseconds: number): Promise<void> {
  edge.pass(milliseconds);
  await edge.wake(account);
}

/** Sends the same request until it is accepted, as a client with patience does. */
async function insist(edge: JobEdge): Promise<ClassificationReport> {
  for (let tries = 0; tries < 40; tries += 1) {
    const response = await send(edge);
    const text = await response.text();
    if (response.status === 202) return JSON.parse(text) as ClassificationReport;
    expect(response.status, text).toBe(503);
    await edge.app.settled();
    await pass(edge, MINUTE_MS);
  }
  throw new Error('It was never accepted.');
}

/** Expects that each input was asked about once for each vote, paid for once, and that nothing else is left. */
async function expectOnce(edge: JobEdge, report: ClassificationReport): Promise<void> {
  const ended = await edge.finish(report, account);
  expect(ended.counts).toMatchObject({ inputs: 7, requests: 14, labelled: 7, failed: 0 });
  const { rows } = await edge.resultsOf(ended, account);
  expect(rows.map(({ id, confidence }) => [id, confidence])).toEqual(INPUTS.map(({ id }) => [id, 1]));
  expect(edge.asked()).toEqual(new Map(INPUTS.map(({ input }) => [input, VOTES])));
  await expectPaid(edge, ended);
}

/** Expects that an account has paid for what has ended, and that there is nothing else of it. */
async function expectPaid(edge: JobEdge, { batch, cost_usd }: ClassificationReport): Promise<void> {
  for (let minutes = 0; minutes < 20; minutes += 1) await pass(edge, MINUTE_MS);
  await edge.app.settled();
  const cost = nanodollarsOf(cost_usd);
  expect(await paidBy(account)).toMatchObject({ held: 0, settled: cost, booked: cost });
  const listed = await runInDurableObject(accountStub(bindings, {}, account), (_, { storage }) =>
    storage.sql.exec('select id from batches').toArray(),
  );
  expect(listed).toEqual([{ id: batch }]);
}

const CALLS = ['prepare', 'part', 'closing', 'answered'];
const KILLS = CALLS.flatMap((method) =>
  ['call', 'answer'].flatMap((what) => ['lives', 'dies'].map((maker) => [what, method, maker] as const)),
);

/** Sends a request of which one call, or its answer, is lost. @param maker whether the edge's own part dies by it */
async function sendAndLose(edge: JobEdge, [what, method, maker]: (typeof KILLS)[number]): Promise<void> {
  let isFirst = true;
  let killed = 0;
  around(Batch, method, async (whole) => {
    if (killed > 0) return await whole();
    killed += 1;
    if (what === 'answer') await whole();
    throw new Error('killed');
  });
  around(Batch, 'drop', (whole) => {
    if (maker === 'dies' && isFirst) throw new Error('killed');
    return whole();
  });
  const first = await send(edge);
  await first.text();
  await edge.app.settled();
  isFirst = false;
  expect(killed).toBe(1);
  // Some calls are made again until they are heard.
  expect([202, 503]).toContain(first.status);
  await abortAllDurableObjects();
}

/** Whether the last bytes have gone up nobody can say then. */
const isUnsure = ([what, method, maker]: (typeof KILLS)[number]) =>
  what === 'answer' && method === 'closing' && maker === 'dies';

test.each(KILLS.filter((kill) => !isUnsure(kill)))(
  'a classification by batch asks once where the %s of %s is lost, and the edge %s',
  async (...kill) => {
    const edge = jobEdge();
    await sendAndLose(edge, kill);
    await expectOnce(edge, await insist(edge));
  },
);

test.each(KILLS.filter(isUnsure))(
  'a classification by batch asks nothing where the %s of %s is lost, and the edge %s',
  async (...kill) => {
    const edge = jobEdge();
    await sendAndLose(edge, kill);
    const report = await insist(edge);
    for (let hours = 0; hours < 3; hours += 1) await pass(edge, DAY_MS);
    const ended = await edge.finish(report, account);
    expect(ended).toMatchObject({ counts: { labelled: 0, failed: 7 }, cost_usd: 0 });
    expect(edge.asked()).toEqual(new Map());
    await expectPaid(edge, ended);
  },
);

test('a classification by batch asks once where all that is in memory goes before each alarm, and results break off', async () => {
  const edge = jobEdge();
  const report = await insist(edge);
  edge.breaks = 3;
  for (let alarms = 0; alarms < 8; alarms += 1) {
    await abortAllDurableObjects();
    await edge.wake(account);
  }
  expect(edge.breaks).toBe(0);
  await expectOnce(edge, report);
});

test('a classification whose create got no answer is told as unknown, and its inputs say so at its end', async () => {
  const edge = jobEdge();
  edge.instead = ({ method, url }) => {
    if (method === 'POST' && url.pathname.endsWith('/batches')) throw new Error('connection reset');
    return undefined;
  };
  // The list has no other as large.
  const response = await edge.ask({ inputs: inputsOf(11) }, account, KEY);
  expect(response.status).toBe(504);
  const [, id = ''] = /batch msgbatch_(\w{26})/.exec(await response.text()) ?? [];
  expect(await edge.read(`clsbatch_${id}`, account)).toMatchObject({ status: 'in_progress', batch: `msgbatch_${id}` });
  for (let days = 0; days < 2; days += 1) await pass(edge, DAY_MS);
  const ended = await edge.finish({ id: `clsbatch_${id}` } as ClassificationReport, account);
  expect(ended).toMatchObject({ counts: { labelled: 0, failed: 11 }, cost_usd: 0 });
  await expectPaid(edge, ended);
});

test('of requests that race under one key one makes the batch, and the others are told to wait', async () => {
  const edge = jobEdge();
  const responses = await Promise.all(Array.from({ length: 5 }, () => send(edge)));
  const ids = new Set<string>();
  for (const response of responses) {
    const text = await response.text();
    if (response.status === 202) ids.add((JSON.parse(text) as ClassificationReport).id);
    else expect([response.status, Number(response.headers.get('retry-after')) > 0], text).toEqual([503, true]);
  }
  const report = await insist(edge);
  expect(ids).toEqual(new Set([report.id]));
  await expectOnce(edge, report);
});

/** Stops a classification that counts its outcomes, and does something meanwhile. */
async function whileCounting<T>(counting: () => Promise<T>, meanwhile: () => Promise<unknown>): Promise<T> {
  let isCounting = false;
  around(LabelTables, 'partsAfter', (whole) => {
    isCounting = true;
    return whole();
  });
  const gate = holdStep(() => isCounting);
  const counted = counting();
  await eventually(() => expect(gate.isReached).toBe(true));
  await meanwhile();
  gate.open();
  return await counted;
}

/** So many that counting them takes a break. */
const MANY = inputsOf(120);
const stubOf = ({ batch }: { batch: string | null }) => batchStub(bindings, {}, { account, id: batch ?? '' });

test('a classification by batch is counted once where it is cancelled, and its alarm comes again, while its outcomes are counted', async () => {
  const edge = jobEdge();
  const report = await edge.begin({ inputs: MANY }, account);
  const poll = async () => void (await runDurableObjectAlarm(stubOf(report)));
  let ended_at: string | null = null;
  await whileCounting(poll, async () => {
    await stubOf(report).cancel();
    await runInDurableObject(stubOf(report), (batch) => (batch as unknown as Batch).alarm());
    ({ ended_at } = await edge.read(report.id, account));
    expect(ended_at).not.toBeNull();
    edge.pass(MINUTE_MS);
  });
  const ended = await edge.finish(report, account);
  expect(ended).toMatchObject({ status: 'ended', ended_at, counts: { labelled: 120, failed: 0 } });
  await expectPaid(edge, ended);
});

test('leaves nothing where its account is erased while its outcomes are counted', async () => {
  const edge = jobEdge();
  const report = await edge.begin({ inputs: MANY }, account);
  await whileCounting(
    async () => void (await runDurableObjectAlarm(stubOf(report))),
    async () => await stubOf(report).erase(),
  );
  await edge.wake(account);
  await runInDurableObject(stubOf(report), async (_, { storage }) => {
    expect([...storage.sql.exec("select name from sqlite_master where name = 'record'")]).toEqual([]);
    expect(await storage.getAlarm()).toBeNull();
  });
});

/** Nothing of these goes up, so a classification of them ends where its making begins. */
const EMPTY = { inputs: MANY.map(({ id }) => ({ id, input: '' })), votes: VOTES };

test('a classification by batch ends once where its making is told twice while its outcomes are counted', async () => {
  const edge = jobEdge();
  let second: Promise<void> | undefined;
  const response = await whileCounting(
    () => edge.ask(EMPTY, account, KEY),
    async () => {
      const [[batch = ''] = []] = edge.batches;
      second = stubOf({ batch }).endEmpty();
      await second;
    },
  );
  const report = (await response.json()) as ClassificationReport;
  expect(report).toMatchObject({ status: 'ended', batch: null, counts: { inputs: 120, failed: 120, labelled: 0 } });
  await second;
  expect(await edge.read(report.id, account)).toEqual(report);
  expect(edge.requestsUp()).toEqual([]);
  // It is no batch to its account, and the same request finds it again.
  const again = await edge.ask(EMPTY, account, KEY);
  expect(await again.json()).toEqual(report);
  const list = await accountStub(bindings, {}, account).batches({});
  expect(list.data).toEqual([]);
});

test('a classification makes no batch where it is erased while its outcomes are counted', async () => {
  const edge = jobEdge();
  const response = await whileCounting(
    () => edge.ask(EMPTY, account, KEY),
    async () => {
      const [[batch = ''] = []] = edge.batches;
      await stubOf({ batch }).erase();
    },
  );
  expect([response.status, edge.requestsUp()]).toEqual([404, []]);
});
