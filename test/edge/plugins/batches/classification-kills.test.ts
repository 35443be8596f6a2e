import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { beforeEach, expect, test } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { DAY_MS, MINUTE_MS } from '#edge/kit/async/durations.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { MessageBatch } from '#edge/money/lists/batches-answers.schema.ts';
import { Batch } from '#edge/plugins/batches/batch.ts';
import {
  createInputs,
  createJobEdge,
  type JobEdge,
  readPayments,
  toNanodollars,
  wrapMethod,
} from '#test/support/classification-jobs.ts';
import { disableAutomaticAlarms } from '#test/support/pending-work.ts';

const bindings = env as unknown as Bindings;
const KEY = { 'idempotency-key': 'once' };
const INPUTS = createInputs(7);

/** Another one in each test: what an object does behind a test's end is of no concern to the next. */
let account = '';
let tests = 0;
beforeEach(() => {
  tests += 1;
  account = `ada${tests}`;
  disableAutomaticAlarms();
});
const send = async (edge: JobEdge) => await edge.requestJob({ inputs: INPUTS }, account, KEY);

/** Lets time go by, and has everything done that is due then. */
async function pass(edge: JobEdge, milliseconds: number): Promise<void> {
  edge.advanceClock(milliseconds);
  await edge.wakeBatches(account);
}

/** Sends the same request until it is accepted, as a client with patience does. */
async function insist(edge: JobEdge): Promise<MessageBatch> {
  for (let tries = 0; tries < 40; tries += 1) {
    const response = await send(edge);
    const text = await response.text();
    if (response.status === 202) return JSON.parse(text) as MessageBatch;
    expect(response.status, text).toBe(503);
    await edge.app.waitUntilSettled();
    await pass(edge, MINUTE_MS);
  }
  throw new Error('It was never accepted.');
}

/** Expects that each input was asked about once, paid for once, and that nothing else is left. */
async function expectOnce(edge: JobEdge, report: MessageBatch): Promise<void> {
  const ended = await edge.settleJob(report, account);
  expect(ended.request_counts).toMatchObject({ processing: 0, succeeded: 7 });
  const { rows } = await edge.readResults(ended, account);
  expect(rows.map(({ id, error }) => [id, error])).toEqual(INPUTS.map(({ id }) => [id, null]));
  expect(edge.countAskedTexts()).toEqual(new Map(INPUTS.map(({ input }) => [input, 1])));
  await expectPaid(edge, ended);
}

/** Expects that an account has paid for what has ended, and that there is nothing else of it. */
async function expectPaid(edge: JobEdge, { id, cost_usd }: MessageBatch): Promise<void> {
  for (let minutes = 0; minutes < 20; minutes += 1) await pass(edge, MINUTE_MS);
  await edge.app.waitUntilSettled();
  const cost = toNanodollars(cost_usd);
  expect(await readPayments(account)).toMatchObject({ held: 0, settled: cost, booked: cost });
  const listed = await runInDurableObject(getAccountStub(bindings, {}, account), (_, { storage }) =>
    storage.sql.exec('select id from batches').toArray(),
  );
  expect(listed).toEqual([{ id }]);
}

const CALLS = ['storeOpening', 'recordLastByteSent', 'acceptCreateResponse'];
const KILLS = CALLS.flatMap((method) =>
  ['call', 'answer'].flatMap((what) => ['lives', 'dies'].map((maker) => [what, method, maker] as const)),
);

/** Sends a request of which one call, or its answer, is lost. @param maker whether the edge's own part dies by it */
async function sendAndLose(edge: JobEdge, [what, method, maker]: (typeof KILLS)[number]): Promise<void> {
  let isFirst = true;
  let killed = 0;
  wrapMethod(Batch, method, async (whole) => {
    if (killed > 0) return await whole();
    killed += 1;
    if (what === 'answer') await whole();
    throw new Error('killed');
  });
  wrapMethod(Batch, 'giveUpUnsentBatch', (whole) => {
    if (maker === 'dies' && isFirst) throw new Error('killed');
    return whole();
  });
  const first = await send(edge);
  await first.text();
  await edge.app.waitUntilSettled();
  isFirst = false;
  expect(killed).toBe(1);
  // Some calls are made again until they are heard.
  expect([202, 503]).toContain(first.status);
  await abortAllDurableObjects();
}

/** Whether the last bytes have gone up nobody can say then. */
const isUnsure = ([what, method, maker]: (typeof KILLS)[number]) =>
  what === 'answer' && method === 'recordLastByteSent' && maker === 'dies';

test.each(KILLS.filter((kill) => !isUnsure(kill)))(
  'a batch classification sends each input once if the %s of %s is lost and the edge %s',
  async (...kill) => {
    const edge = createJobEdge();
    await sendAndLose(edge, kill);
    await expectOnce(edge, await insist(edge));
  },
);

test.each(KILLS.filter(isUnsure))(
  'a batch classification sends no input if the %s of %s is lost and the edge %s',
  async (...kill) => {
    const edge = createJobEdge();
    await sendAndLose(edge, kill);
    const report = await insist(edge);
    for (let hours = 0; hours < 3; hours += 1) await pass(edge, DAY_MS);
    const ended = await edge.settleJob(report, account);
    expect(ended).toMatchObject({ request_counts: { succeeded: 0, expired: 7 }, cost_usd: 0 });
    expect(edge.countAskedTexts()).toEqual(new Map());
    await expectPaid(edge, ended);
  },
);

test('a batch classification sends each input once if objects die before each alarm and results are cut off', async () => {
  const edge = createJobEdge();
  const report = await insist(edge);
  edge.interruptionCount = 3;
  for (let alarms = 0; alarms < 8; alarms += 1) {
    await abortAllDurableObjects();
    await edge.wakeBatches(account);
  }
  expect(edge.interruptionCount).toBe(0);
  await expectOnce(edge, report);
});

test('a batch classification whose creation gets no response is a 504, and ends without results', async () => {
  const edge = createJobEdge();
  edge.instead = ({ method, url }) => {
    if (method === 'POST' && url.pathname.endsWith('/batches')) throw new Error('connection reset');
    return undefined;
  };
  // The list has no other as large.
  const response = await edge.requestJob({ inputs: createInputs(11) }, account, KEY);
  expect(response.status).toBe(504);
  const [id = ''] = /msgbatch_\w{26}/.exec(await response.text()) ?? [];
  expect(await edge.readJob(id, account)).toMatchObject({ processing_status: 'in_progress' });
  for (let days = 0; days < 2; days += 1) await pass(edge, DAY_MS);
  const ended = await edge.settleJob({ id } as MessageBatch, account);
  expect(ended).toMatchObject({ request_counts: { succeeded: 0, expired: 11 }, cost_usd: 0, results_url: null });
  await expectPaid(edge, ended);
});

test('concurrent requests with one idempotency key create one batch, and get its id or a 503', async () => {
  const edge = createJobEdge();
  const responses = await Promise.all(Array.from({ length: 5 }, () => send(edge)));
  const ids = new Set<string>();
  for (const response of responses) {
    const text = await response.text();
    if (response.status === 202) ids.add((JSON.parse(text) as MessageBatch).id);
    else expect([response.status, Number(response.headers.get('retry-after')) > 0], text).toEqual([503, true]);
  }
  const report = await insist(edge);
  expect(ids).toEqual(new Set([report.id]));
  await expectOnce(edge, report);
});
