/** What a classification by batch does on an edge without its room: it is a batch like any other. */

import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { beforeEach, expect, test, vi } from 'vitest';
import type { Bindings } from '../../../../src/edge/kit/objects/bindings.ts';
import { batchStub } from '../../../../src/edge/kit/objects/stubs.ts';
import type { ClassificationReport } from '../../../../src/edge/named/classify/classifications-answers.schema.ts';
import { classifyByBatch } from '../../../../src/edge/rooms/classify-batches/classifications.route.ts';
import { classifyBatchesRoom } from '../../../../src/edge/rooms/classify-batches/room.ts';
import { inputsOf, type JobEdge, jobEdge, paidBy } from '../../../support/classification-jobs.ts';
import { alarmsByHand } from '../../../support/in-flight.ts';
import { bearer, tokenOf } from '../../../support/tokens.ts';
import { withoutRooms } from '../../../support/without-room.ts';

const DELIVERS = {
  DELIVER_HOSTS: 'a.test',
  DELIVERY_SIGNING_SECRET: 'whsec_dGhlIHNlY3JldCBvZiB0aGUgZGVsaXZlcmllcyBvZiB0ZXN0cw==',
};
const LACKS = expect.stringContaining(
  'This is a classification by batch, and this edge has no room "classify-batches"',
);
const stubOf = ({ batch }: ClassificationReport) =>
  batchStub(env as unknown as Bindings, {}, { account: 'ada', id: batch ?? '' });

beforeEach(() => {
  alarmsByHand();
});

/** Asks as a Worker beside that has the room. */
async function ask(edge: JobEdge, path: string, init: RequestInit = {}) {
  const headers = bearer(await tokenOf('ada', ['classify', 'messages']));
  const response = await edge.app.fetch(path, { ...init, headers });
  const text = await response.text();
  return { status: response.status, json: text.startsWith('{"') ? JSON.parse(text.split('\n')[0] ?? '') : text };
}

const rowsIn = async (report: ClassificationReport) =>
  await runInDurableObject(stubOf(report), (_, { storage }) =>
    ['inputs', 'items', 'votes'].map((table) => storage.sql.exec(`select count(*) n from ${table}`).one().n),
  );

/** Begins one, and takes its room away. @returns what brings the room back */
async function beginAndLeave(edge: JobEdge, body: object = {}) {
  const report = await edge.begin({ inputs: inputsOf(3), cache_seconds: 60, ...body });
  const again = withoutRooms(classifyBatchesRoom);
  await abortAllDurableObjects();
  return { report, again };
}

test('it is read, settled and told as a batch, its labels are a 409, and once the room is back each says that it is lost', async () => {
  const edge = jobEdge(DELIVERS);
  const told: object[] = [];
  vi.spyOn(globalThis, 'fetch').mockImplementation(async (_, init) => {
    told.push(JSON.parse(await new Response(init?.body).text()));
    return new Response(null, { status: 204 });
  });
  const { report, again } = await beginAndLeave(edge, { deliver_url: 'https://a.test/' });
  const path = `/classifications/${report.id}`;
  for (const [way, method] of [
    [path, 'GET'],
    [`${path}/results`, 'GET'],
    [`${path}/cancel`, 'POST'],
  ] as const) {
    expect(await ask(edge, way, { method })).toMatchObject({ status: 409, json: { error: { message: LACKS } } });
  }
  const batch = `/v1/messages/batches/${report.batch}`;
  expect(await ask(edge, batch)).toMatchObject({ status: 200, json: { processing_status: 'in_progress' } });
  for (let alarms = 0; alarms < 3; alarms += 1) await edge.wake();
  const ended = await ask(edge, batch);
  expect(ended.json).toMatchObject({ processing_status: 'ended', request_counts: { succeeded: 3 } });
  const paid = await paidBy('ada');
  expect(paid).toMatchObject({ held: 0, rows: 1, settled: paid.booked });
  expect(paid.settled).toBeGreaterThan(0);
  expect(told).toMatchObject([{ type: 'batch.ended', event_id: `evt_${report.batch}` }]);
  expect(await ask(edge, path)).toMatchObject({ status: 409 });

  again();
  await abortAllDurableObjects();
  const late = await edge.read(report.id);
  expect(late).toMatchObject({ status: 'ended', cost_usd: ended.json.cost_usd, counts: { inputs: 3 } });
  const lost = { label: null, error: { message: expect.stringContaining('is not there any more') } };
  expect((await edge.resultsOf(late)).rows).toMatchObject([lost, lost, lost]);
});

test('its rows are erased with its account', async () => {
  const edge = jobEdge();
  const { report } = await beginAndLeave(edge);
  expect(await rowsIn(report)).toEqual([3, 3, 0]);
  await stubOf(report).erase();
  expect(await rowsIn(report)).toEqual([0, 0, 0]);
  for (let alarms = 0; alarms < 3; alarms += 1) await edge.wake();
  expect(await ask(edge, `/v1/messages/batches/${report.batch}`)).toMatchObject({ status: 404 });
});

test('none is begun there, and nothing is held for it', async () => {
  const edge = jobEdge();
  withoutRooms(classifyBatchesRoom);
  const again = await edge.ask({ inputs: inputsOf(3) });
  expect([again.status, await again.text()]).toEqual([400, expect.stringContaining('labels nothing by batch')]);
  expect(await paidBy('ada')).toMatchObject({ held: 0, rows: 0 });
});

test('an object without it takes no inputs from a Worker that has it: nothing goes up, and the hold is given back', async () => {
  const edge = jobEdge();
  withoutRooms(classifyBatchesRoom);
  Object.assign(classifyBatchesRoom, { classifyByBatch });
  const response = await edge.ask({ inputs: inputsOf(3) });
  expect([response.status, await response.text()]).toEqual([
    409,
    expect.stringContaining('no room \\"classify-batches'),
  ]);
  await edge.app.settled();
  expect(edge.asked().size).toBe(0);
  expect(await paidBy('ada')).toMatchObject({ held: 0, settled: 0 });
});
