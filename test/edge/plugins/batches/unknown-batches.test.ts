/** Batches whose create got no answer, or whose results do not come: each ends, and its hold with it. */

import { evictDurableObject, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { beforeEach, expect, test, vi } from 'vitest';
import { getAccountStub, getBatchStub, getDurableObjectStub, getInboxStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { MessageBatch } from '#edge/money/lists/batches-answers.schema.ts';
import { Batch } from '#edge/plugins/batches/batch.ts';
import type { InitialBatchData } from '#edge/plugins/batches/contracts/batch.ts';
import type { Pool } from '#edge/plugins/pools/pool.ts';
import { createTestApp, readError, type TestApp } from '#test/support/app.ts';
import { createFakeBatchApi, type FakeBatchApi } from '#test/support/batch-api.ts';
import { setBatchUpstream, wakeBatch } from '#test/support/batch-objects.ts';
import { setClockToNoon } from '#test/support/calendar.ts';
import { eventually } from '#test/support/eventually.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';

setClockToNoon();

const bindings = env as unknown as Bindings;
const PATH = '/v1/messages/batches';
const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;

let api: FakeBatchApi;
let app: TestApp;
/** What becomes of a create: it arrives and is answered, or only arrives, or neither; or a gateway says that it takes long. */
let creates: 'answered' | 'unanswered' | 'lost' | 'late' | 'rejected with 200';
/** How many were sent. */
let posts = 0;
/** What the upstream says to any other call, if not what it should. */
let instead: (method: string, path: string) => Response | undefined;
/** How far the clock of everybody is ahead, in milliseconds. */
let late = 0;

beforeEach(() => {
  late = 0;
  posts = 0;
  creates = 'unanswered';
  instead = () => undefined;
  api = createFakeBatchApi({ now: () => Date.now() + late });
  app = createTestApp(({ method, url, text }) => {
    if (method !== 'POST' || creates === 'answered') return api.handle(method, url.pathname + url.search, text);
    posts += 1;
    if (creates === 'rejected with 200')
      return Response.json({ type: 'error', error: { type: 'invalid_request_error', message: 'Too many batches.' } });
    if (creates === 'late') return new Response('<html>Gateway time-out</html>', { status: 504 });
    if (creates === 'unanswered') api.handle(method, url.pathname, text);
    throw new Error('connection reset');
  }, DEPLOYED_VARS);
  setBatchUpstream(async (to, { method = '' }) => {
    const { pathname, search } = new URL(to);
    return instead(method, pathname + search) ?? api.handle(method, pathname + search, '');
  });
  const clock = Batch.prototype as unknown as { now(): number };
  vi.spyOn(clock, 'now').mockImplementation(() => Date.now() + late);
});
const params = (content: string) => ({
  model: 'claude-sonnet-5-5',
  max_tokens: 100,
  messages: [{ role: 'user', content }],
});
const bodyOf = (ids: readonly string[], content = 'Hi') => ({
  requests: ids.map((custom_id) => ({ custom_id, params: params(content) })),
});

async function make(account: string, ids: readonly string[], content?: string): Promise<string> {
  const response = await app.post(PATH, bodyOf(ids, content), bearerHeader(await createToken(account)));
  expect(response.status, await response.clone().text()).toBe(200);
  return ((await response.json()) as MessageBatch).id;
}

/** Sends a batch that is not answered. */
async function lose(account: string, ids: readonly string[]): Promise<string> {
  const response = await app.post(PATH, bodyOf(ids), bearerHeader(await createToken(account)));
  const { message } = await readError(response);
  return /msgbatch_\w{26}/.exec(message)?.[0] ?? message;
}

/** A batch whose last byte has not gone up: as another one, but for its id. */
async function prepared(account: string, nth = 0) {
  creates = 'answered';
  const first = await make(account, ['a1']);
  const journal = await runInDurableObject(getBatchStub(bindings, {}, { account, id: first }), (_, ctx) =>
    String(ctx.storage.sql.exec('select journal from record').one().journal),
  );
  api.batches.clear();
  const id = `msgbatch_${String(nth).padStart(26, '0')}`;
  const { rows, upstreamId: _, ...rest } = JSON.parse(journal) as InitialBatchData & { upstreamId?: string };
  const opening = { ...rest, id, rows: rows.map((row) => ({ ...row, requestId: `req_${id}` })) };
  const stub = getBatchStub(bindings, {}, { account, id });
  await stub.storeOpening(opening);
  return { id, stub, opening };
}

async function alerts() {
  const { data } = await getInboxStub(bindings, {}, 'alert').listAlerts({});
  return data.map(({ kind, node, subject }) => [kind, node.id, subject]);
}

async function shown(account: string, id: string): Promise<MessageBatch> {
  const state = await getBatchStub(bindings, {}, { account, id }).readBatchState();
  if (state.kind !== 'known') throw new Error(state.kind);
  return state.batch;
}

/** Has batches do what is due until all have ended. */
async function ended(...all: (readonly [account: string, id: string])[]): Promise<void> {
  await eventually(async () => {
    for (const [account, id] of all) await wakeBatch(id, account);
    for (const [account, id] of all) expect((await shown(account, id)).processing_status).toBe('ended');
  });
}

async function wakeSeveralTimes(...all: (readonly [account: string, id: string])[]): Promise<void> {
  for (let times = 0; times < 3; times += 1) {
    late += MINUTE_MS;
    for (const [account, id] of all) await wakeBatch(id, account);
  }
}

const day = async (account: string) => (await getAccountStub(bindings, {}, account).getQuotaReport({})).day;

test('a create request without a response is a 504, and a retry with its key is not sent upstream', async () => {
  const key = { ...bearerHeader(await createToken('alice')), 'idempotency-key': 'once' };
  for (let times = 0; times < 2; times += 1) {
    const response = await app.post(PATH, bodyOf(['a1', 'a2']), key);
    expect(response.status).toBe(504);
    expect(response.headers.get('x-should-retry')).toBe('false');
    const { type, message } = await readError(response);
    expect(type).toBe('timeout_error');
    expect(message).toMatch(/batch msgbatch_\w{26}\. .*a batch with 2 items .*another idempotency-key/);
  }
  expect(api.createCount).toBe(1);
  const list = await app.fetch(PATH, { headers: key });
  const [batch] = ((await list.json()) as { data: MessageBatch[] }).data;
  expect(batch).toMatchObject({ processing_status: 'in_progress', unknown: expect.stringContaining(batch?.id ?? '?') });
  expect((await day('alice')).held_usd).toBeGreaterThan(0);
  await wakeSeveralTimes(['alice', batch?.id ?? '']);
  expect(await alerts()).toEqual([['batch_unknown', 'alice', batch?.id]]);
});

test('an unknown batch that the upstream may have created is booked at its hold, and has no results', async () => {
  const id = await lose('alice', ['a1', 'a2']);
  const held = (await day('alice')).held_usd;
  api.end();
  await wakeSeveralTimes(['alice', id]);
  expect((await shown('alice', id)).processing_status).toBe('in_progress');
  late += 20 * MINUTE_MS;
  await ended(['alice', id]);
  expect(await shown('alice', id)).toMatchObject({ request_counts: { errored: 2 }, cost_usd: held, results_url: null });
  expect((await shown('alice', id)).unknown).toBeUndefined();
  const results = await app.fetch(`${PATH}/${id}/results`, { headers: bearerHeader(await createToken('alice')) });
  expect(results.status).toBe(404);
  expect(await day('alice')).toMatchObject({ held_usd: 0, settled_usd: held });
  const rows = (await getAccountStub(bindings, {}, 'alice').listRequests({})).data;
  expect(rows).toMatchObject([{ status: 'unknown', estimated: true, batch: id }]);
});

test('a batch whose creation got no response, and which is never listed, is held for 25 hours and costs nothing', async () => {
  // By the operator's own key, beside this edge: earlier, and of another size.
  api.handle('POST', PATH, JSON.stringify(bodyOf(['x', 'y'])));
  late += 3 * MINUTE_MS;
  creates = 'lost';
  const id = await lose('alice', ['a1', 'a2']);
  api.handle('POST', PATH, JSON.stringify(bodyOf(['x', 'y', 'z'])));
  for (const pause of [20, 20 * 60, 4 * 60]) {
    late += pause * MINUTE_MS;
    await wakeSeveralTimes(['alice', id]);
    expect((await shown('alice', id)).processing_status).toBe('in_progress');
    expect((await day('alice')).held_usd).toBeGreaterThan(0);
  }
  // The list said enough before.
  instead = () => new Response(null, { status: 500 });
  late += 60 * MINUTE_MS;
  await ended(['alice', id]);
  expect((await shown('alice', id)).request_counts).toMatchObject({ expired: 2, succeeded: 0 });
  await eventually(async () => expect(await day('alice')).toMatchObject({ settled_usd: 0, held_usd: 0 }));
  const rows = (await getAccountStub(bindings, {}, 'alice').listRequests({})).data;
  expect(rows).toMatchObject([{ status: 'unsent', cost_usd: 0 }]);
});

test('a batch is booked at its hold if the upstream’s list is too long to rule out its creation', async () => {
  creates = 'lost';
  const id = await lose('alice', ['a1', 'a2']);
  const held = (await day('alice')).held_usd;
  const others = Array.from({ length: 1_000 }, (_, nth) => ({
    id: `msgbatch_other_${nth}`,
    created_at: new Date(Date.now() + 27 * 60 * MINUTE_MS).toISOString(),
    processing_status: 'in_progress',
    request_counts: { processing: 7 },
  }));
  instead = (method, path) =>
    method === 'GET' && path.includes('?limit=') ? Response.json({ data: others, has_more: true }) : undefined;
  late += 20 * MINUTE_MS;
  await wakeSeveralTimes(['alice', id]);
  expect((await shown('alice', id)).processing_status).toBe('in_progress');
  late += 26 * 60 * MINUTE_MS;
  await ended(['alice', id]);
  expect(await day('alice')).toMatchObject({ held_usd: 0, settled_usd: held });
});

test.each([
  ['no list', {}],
  ['a list of what are no batches', { data: [{ id: 'msgbatch_other' }], has_more: false }],
  ['an empty page before others', { data: [], has_more: true }],
])('a batch is booked at its hold if the upstream returns %s when asked for its list', async (_, list) => {
  creates = 'lost';
  const id = await lose('alice', ['a1', 'a2']);
  const held = (await day('alice')).held_usd;
  instead = () => Response.json(list);
  for (const pause of [20 * MINUTE_MS, DAY_MS, 31 * DAY_MS]) {
    late += pause;
    await wakeSeveralTimes(['alice', id]);
  }
  await ended(['alice', id]);
  expect(await day('alice')).toMatchObject({ held_usd: 0, settled_usd: held });
});

test('an error in an upstream’s response with status 200 is returned as a 400, and nothing is held', async () => {
  creates = 'rejected with 200';
  const response = await app.post(PATH, bodyOf(['a1']), bearerHeader(await createToken('alice')));
  expect(response.status).toBe(400);
  expect(await readError(response)).toMatchObject({ type: 'invalid_request_error', message: 'Too many batches.' });
  await eventually(async () => expect(await day('alice')).toMatchObject({ settled_usd: 0, held_usd: 0 }));
  expect(await alerts()).toEqual([]);
});

test('a gateway timeout leaves the batch unknown: the hold remains, and the batch is not sent again', async () => {
  const key = { ...bearerHeader(await createToken('alice')), 'idempotency-key': 'once' };
  creates = 'late';
  for (let times = 0; times < 2; times += 1) {
    expect((await app.post(PATH, bodyOf(['a1', 'a2']), key)).status).toBe(504);
    api.handle('POST', PATH, JSON.stringify(bodyOf(['a1', 'a2'])));
  }
  expect(posts).toBe(1);
  expect((await day('alice')).held_usd).toBeGreaterThan(0);
});

test('a batch is booked at its hold if the upstream’s list cannot be read for a month', async () => {
  creates = 'lost';
  const id = await lose('alice', ['a1', 'a2']);
  const held = (await day('alice')).held_usd;
  instead = () => new Response(null, { status: 500 });
  late += 26 * 60 * MINUTE_MS;
  await wakeSeveralTimes(['alice', id]);
  expect((await shown('alice', id)).processing_status).toBe('in_progress');
  late += 30 * DAY_MS;
  await ended(['alice', id]);
  expect(await day('alice')).toMatchObject({ held_usd: 0, settled_usd: held });
});

test('a late response to the create request is accepted, and the batch runs to its end', async () => {
  const { id, stub } = await prepared('alice');
  expect(await stub.recordLastByteSent()).toBe(true);
  const { id: made = '' } = (await api.handle('POST', PATH, JSON.stringify(bodyOf(['a1']))).json()) as { id?: string };
  late += MINUTE_MS - 1_000;
  await wakeBatch(id, 'alice');
  expect((await shown('alice', id)).unknown).toBeUndefined();
  late += 2_000;
  await wakeBatch(id, 'alice');
  expect((await shown('alice', id)).unknown).toContain(id);
  const state = await stub.acceptCreateResponse({ kind: 'made', id: made, expiresAt: '' });
  expect(state).toMatchObject({ kind: 'known', upstream: { id: made } });
  api.end();
  await ended(['alice', id]);
  expect((await shown('alice', id)).request_counts).toMatchObject({ succeeded: 1 });
});

test('reports a batch as unknown after a minute without a response, if the upstream’s list can be read', async () => {
  const { id, stub } = await prepared('alice');
  expect(await stub.recordLastByteSent()).toBe(true);
  instead = () => new Response(null, { status: 500 });
  late += 2 * MINUTE_MS;
  await wakeBatch(id, 'alice');
  expect((await shown('alice', id)).unknown).toBeUndefined();
  instead = () => undefined;
  late += MINUTE_MS;
  await wakeBatch(id, 'alice');
  expect((await shown('alice', id)).unknown).toContain(id);
  await eventually(async () => expect(await alerts()).toEqual([['batch_unknown', 'alice', id]]));
  expect((await day('alice')).held_usd).toBeGreaterThan(0);
});

test('reports a batch as unknown once the upstream’s timeout has passed, even if the list cannot be read', async () => {
  const { id, stub } = await prepared('alice');
  expect(await stub.recordLastByteSent()).toBe(true);
  instead = () => new Response(null, { status: 500 });
  late += 11 * MINUTE_MS;
  await wakeBatch(id, 'alice');
  expect((await shown('alice', id)).unknown).toContain(id);
});

test('a cancellation that arrives before the upstream’s response is sent upstream once its batch is known', async () => {
  const { id, stub } = await prepared('alice');
  await stub.cancelBatch();
  expect(await stub.recordLastByteSent()).toBe(true);
  const { id: made = '' } = (await api.handle('POST', PATH, JSON.stringify(bodyOf(['a1']))).json()) as { id?: string };
  instead = () => new Response(null, { status: 500 });
  await stub.acceptCreateResponse({ kind: 'made', id: made, expiresAt: '' });
  expect(api.batches.get(made)).toMatchObject({ isCanceled: false });
  instead = () => undefined;
  await wakeBatch(id, 'alice');
  expect(api.batches.get(made)).toMatchObject({ isCanceled: true });
  expect((await shown('alice', id)).processing_status).toBe('canceling');
});

test('a batch that the upstream has forgotten is booked at its hold', async () => {
  creates = 'answered';
  const id = await make('alice', ['a1', 'a2']);
  const held = (await day('alice')).held_usd;
  api.batches.clear();
  await wakeSeveralTimes(['alice', id]);
  expect((await shown('alice', id)).processing_status).toBe('in_progress');
  late += 31 * DAY_MS;
  await ended(['alice', id]);
  expect(await day('alice')).toMatchObject({ held_usd: 0, settled_usd: held });
  const [row] = (await getAccountStub(bindings, {}, 'alice').listRequests({})).data;
  expect(row).toMatchObject({ status: 'unknown', estimated: true });
});

test('a batch that is missing upstream raises one alert after an hour, unless it reappears before', async () => {
  creates = 'answered';
  const id = await make('alice', ['a1', 'a2']);
  const known = new Map(api.batches);
  const wakeAfter = async (minutes: number) => {
    late += minutes * MINUTE_MS;
    await wakeBatch(id, 'alice');
  };
  api.batches.clear();
  await wakeAfter(1);
  await wakeAfter(50);
  for (const [one, batch] of known) api.batches.set(one, batch);
  await wakeAfter(20);
  api.batches.clear();
  await wakeAfter(1);
  await wakeAfter(50);
  // Whether it is still unknown is not said.
  instead = () => new Response(null, { status: 500 });
  await wakeAfter(5);
  expect(await alerts()).toEqual([]);
  instead = () => undefined;
  await wakeAfter(20);
  await wakeAfter(60);
  expect(await alerts()).toEqual([['batch_missing', 'alice', id]]);
  expect((await shown('alice', id)).processing_status).toBe('in_progress');
});

test('with estimated tool costs a batch is held at the estimate, and booked at it once forgotten upstream', async () => {
  creates = 'answered';
  await getAccountStub(bindings, {}, 'alice').setLimits({ served_tools: 'estimate', usd_per_day: 100 });
  const search = { ...params('Hi'), tools: [{ type: 'web_search_20250305', name: 'web_search', max_uses: 3 }] };
  const body = { requests: [{ custom_id: 'a1', params: search }, ...bodyOf(['a2']).requests] };
  const response = await app.post(PATH, body, bearerHeader(await createToken('alice')));
  const { id } = (await response.json()) as MessageBatch;
  const held = (await day('alice')).held_usd ?? 0;
  const exactly = await app.post(`${PATH}?dry_run=true`, body, bearerHeader(await createToken('bob')));
  expect(held).toBe(((await exactly.json()) as { cost_usd: number }).cost_usd);
  api.batches.clear();
  late += 31 * DAY_MS;
  await ended(['alice', id]);
  expect((await day('alice')).settled_usd).toBeCloseTo(held, 8);
  const [row] = (await getAccountStub(bindings, {}, 'alice').listRequests({})).data;
  expect(row).toMatchObject({ status: 'unknown', over_hold: false });
  expect((await shown('alice', id)).cost_usd).toBe(row?.cost_usd);
});

test('a succeeded item without usage costs its share of the hold', async () => {
  creates = 'answered';
  const id = await make('alice', ['a1', 'a2', 'exp3', 'exp4']);
  const held = (await day('alice')).held_usd;
  instead = (_, path) => {
    if (!path.endsWith('/results')) return undefined;
    const line = (custom_id: string, type: string) =>
      JSON.stringify({ custom_id, result: type === 'expired' ? { type } : { type, message: { type: 'message' } } });
    const lines = [line('a1', 'succeeded'), line('a2', 'succeeded'), line('exp3', 'expired'), line('exp4', 'expired')];
    return new Response(lines.join('\n'));
  };
  api.end();
  await ended(['alice', id]);
  const { settled_usd, held_usd } = await day('alice');
  expect(held_usd).toBe(0);
  expect(settled_usd).toBeCloseTo((held ?? 0) / 2, 8);
  const [row] = (await getAccountStub(bindings, {}, 'alice').listRequests({})).data;
  expect(row).toMatchObject({ estimated: true, over_hold: false });
});

test('incomplete results are read again at growing intervals, and settled when they are complete', async () => {
  creates = 'answered';
  const id = await make('alice', ['a1', 'a2']);
  let reads = 0;
  const short = (path: string) => {
    if (!path.endsWith('/results')) return undefined;
    reads += 1;
    return new Response(`${JSON.stringify({ custom_id: 'a1', result: { type: 'expired' } })}\n`);
  };
  instead = (_, path) => short(path);
  api.end();
  await eventually(async () => {
    late += MINUTE_MS;
    await wakeBatch(id, 'alice');
    expect(reads).toBeGreaterThan(0);
  });
  for (let times = 0; times < 100; times += 1) {
    late += MINUTE_MS;
    await shown('alice', id);
    await wakeBatch(id, 'alice');
  }
  // Twice as late each time: not a hundred times.
  expect(reads).toBeGreaterThan(4);
  expect(reads).toBeLessThan(16);
  expect((await day('alice')).held_usd).toBeGreaterThan(0);
  instead = () => undefined;
  late += DAY_MS;
  await ended(['alice', id]);
  expect((await shown('alice', id)).request_counts).toMatchObject({ succeeded: 2 });
});

test('giving up an unsent batch releases its hold at any point of its creation', async () => {
  for (const [nth, step] of (['prepared', 'closing', 'closing twice'] as const).entries()) {
    const { id, stub } = await prepared('alice', nth);
    if (step !== 'prepared') expect(await stub.recordLastByteSent()).toBe(true);
    if (step === 'closing twice') expect(await stub.recordLastByteSent()).toBe(true);
    expect((await stub.readBatchState()).kind).toBe('known');
    // Both at once: neither brings back what the other has forgotten.
    await Promise.all([stub.giveUpUnsentBatch(true), stub.giveUpUnsentBatch(true), wakeBatch(id, 'alice')]);
    expect((await stub.readBatchState()).kind).toBe('none');
    expect(await stub.recordLastByteSent()).toBe(false);
    expect(await getAccountStub(bindings, {}, 'alice').findRequest(`req_${id}`)).toMatchObject({
      status: 'unsent',
      cost_usd: 0,
    });
  }
});

test('a batch is not sent if its account is erased during the upload', async () => {
  const { stub } = await prepared('alice');
  await stub.erase();
  expect(await stub.recordLastByteSent()).toBe(false);
});

test('logs a failing upstream once a minute, and reports the failure after ten minutes even if the object sleeps', async () => {
  creates = 'answered';
  const startedAt = Date.now();
  vi.spyOn(Batch.prototype as unknown as { now(): number }, 'now').mockImplementation(() => startedAt + late);
  const id = await make('polled', ['a1']);
  instead = () =>
    Response.json({ type: 'error', error: { type: 'api_error', message: 'the text of a user' } }, { status: 500 });
  const logging = vi.spyOn(console, 'error').mockImplementation(() => {});
  const lines = () =>
    logging.mock.calls.map(([line]) => String(line)).filter((line) => line.includes('"task":"batch"'));
  const wakeAt = async (time: number) => {
    late = time;
    await wakeBatch(id, 'polled');
    await evictDurableObject(getBatchStub(bindings, {}, { account: 'polled', id }));
  };
  const pool = () => getDurableObjectStub(bindings.POOL, {}, 'deployment') as unknown as DurableObjectStub<Pool>;
  for (let half = 0; half < 20; half += 1) await wakeAt(half * (MINUTE_MS / 2));
  expect(lines()).toHaveLength(10);
  expect(lines()[0]).toContain('"error":"BatchCallFailedError 500","attempt":1');
  expect(lines().join('')).not.toContain('the text of a user');
  expect((await pool().getPoolOverview({}, false)).failing_tasks).toEqual([]);
  await wakeAt(10 * MINUTE_MS);
  await eventually(async () => {
    expect((await pool().getPoolOverview({}, false)).failing_tasks).toMatchObject([{ task: 'batch' }]);
    // The platform may have fired the alarm, too.
    expect((await pool().listTaskFailures())[0]?.failures).toBeGreaterThanOrEqual(21);
  });
  instead = () => undefined;
  api.end();
  await ended(['polled', id]);
  await runInDurableObject(getBatchStub(bindings, {}, { account: 'polled', id }), (_, { storage }) => {
    expect([...storage.kv.list()]).toEqual([]);
  });
});
