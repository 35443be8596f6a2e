/** Batches whose create got no answer: each is found, or was never made, and nobody is given another's. */

import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { Batch } from '../../src/batches/batch.ts';
import type { MessageBatch } from '../../src/batches/batches-answers.schema.ts';
import { BatchClaims } from '../../src/batches/claims.ts';
import type { Bindings } from '../../src/durable/bindings.ts';
import type { BatchOpening } from '../../src/durable/contracts/batch.ts';
import { accountStub, batchStub } from '../../src/durable/stubs.ts';
import { type TestApp, testApp } from '../support/app.ts';
import { type FakeBatchApi, fakeBatchApi } from '../support/batch-api.ts';
import { batchesReach, wakeBatch } from '../support/batch-objects.ts';
import { atNoon } from '../support/calendar.ts';
import { eventually } from '../support/eventually.ts';
import { bearer, DEPLOYED, tokenOf } from '../support/tokens.ts';

atNoon();

const bindings = env as unknown as Bindings;
const PATH = '/v1/messages/batches';
const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;

let api: FakeBatchApi;
let app: TestApp;
/** What becomes of a create: it arrives and is answered, or only arrives, or neither. */
let creates: 'answered' | 'unanswered' | 'lost';
/** What the upstream says to any other call, if not what it should. */
let instead: (method: string, path: string) => Response | undefined;
/** How far the clock of everybody is ahead, in milliseconds. */
let late = 0;

beforeEach(() => {
  late = 0;
  creates = 'unanswered';
  instead = () => undefined;
  api = fakeBatchApi({ now: () => Date.now() + late });
  app = testApp(({ method, url, text }) => {
    if (method !== 'POST' || creates === 'answered') return api.handle(method, url.pathname + url.search, text);
    if (creates === 'unanswered') api.handle(method, url.pathname, text);
    throw new Error('connection reset');
  }, DEPLOYED);
  batchesReach(async (to, { method = '' }) => {
    const { pathname, search } = new URL(to);
    return instead(method, pathname + search) ?? api.handle(method, pathname + search, '');
  });
  for (const prototype of [Batch.prototype, BatchClaims.prototype]) {
    const spy = vi.spyOn(prototype as unknown as { now(): number }, 'now').mockImplementation(() => Date.now() + late);
    onTestFinished(() => spy.mockRestore());
  }
});
const params = (content: string) => ({
  model: 'claude-sonnet-5-5',
  max_tokens: 100,
  messages: [{ role: 'user', content }],
});
const bodyOf = (ids: readonly string[], content = 'Hi') => ({
  requests: ids.map((custom_id) => ({ custom_id, params: params(content) })),
});

/** Makes batches while nobody can look for them. */
async function makeUnseen(...all: (readonly [account: string, ids: readonly string[], content?: string])[]) {
  instead = () => new Response(null, { status: 500 });
  const made: string[] = [];
  for (const [account, ids, content] of all) made.push(await make(account, ids, content));
  instead = () => undefined;
  return made as [string, string];
}

async function make(account: string, ids: readonly string[], content?: string): Promise<string> {
  const response = await app.post(PATH, bodyOf(ids, content), bearer(await tokenOf(account)));
  expect(response.status, await response.clone().text()).toBe(200);
  return ((await response.json()) as MessageBatch).id;
}

async function shown(account: string, id: string): Promise<MessageBatch> {
  const state = await batchStub(bindings, {}, { account, id }).read();
  if (state.kind !== 'known') throw new Error(state.kind);
  return state.batch;
}

async function resultIds(account: string, id: string): Promise<string[]> {
  const headers = bearer(await tokenOf(account));
  const response = await app.fetch(`${PATH}/${id}/results`, { headers });
  expect(response.status).toBe(200);
  const lines = (await response.text()).trim().split('\n');
  return lines.map((line) => (JSON.parse(line) as { custom_id: string }).custom_id).sort();
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

const day = async (account: string) => (await accountStub(bindings, {}, account).standing({})).day;

test('two lost at the same time with the same number of items get each its own, by their custom ids', async () => {
  const [alice, bob] = await makeUnseen(['alice', ['a1', 'a2', 'err3']], ['bob', ['b1', 'b2', 'b3']]);
  await wakeSeveralTimes(['alice', alice], ['bob', bob]);
  expect((await shown('alice', alice)).processing_status).toBe('in_progress');
  api.end();
  await ended(['alice', alice], ['bob', bob]);
  expect(await resultIds('alice', alice)).toEqual(['a1', 'a2', 'err3']);
  expect(await resultIds('bob', bob)).toEqual(['b1', 'b2', 'b3']);
  expect((await shown('alice', alice)).request_counts).toMatchObject({ succeeded: 2, errored: 1 });
  expect(api.creates).toBe(2);
});

test('two lost with the same custom ids of two accounts: none is ever shown the other’s, and both are booked', async () => {
  const ids = ['1', '2', '3'];
  const [alice, bob] = await makeUnseen(['alice', ids, 'My secret'], ['bob', ids, 'Mine']);
  const held = (await day('alice')).held_usd;
  api.end();
  await wakeSeveralTimes(['alice', alice], ['bob', bob]);
  for (const [account, id] of [
    ['alice', alice],
    ['bob', bob],
  ] as const) {
    expect((await shown(account, id)).processing_status).toBe('in_progress');
    const response = await app.fetch(`${PATH}/${id}/results`, { headers: bearer(await tokenOf(account)) });
    expect(response.status).toBe(404);
  }
  late += 31 * DAY_MS;
  await ended(['alice', alice], ['bob', bob]);
  expect((await shown('alice', alice)).results_url).toBeNull();
  expect(await day('alice')).toMatchObject({ held_usd: 0, settled_usd: held });
});

test('the same body of one account, lost twice, is two batches that may be taken for one another', async () => {
  const [first, second] = await makeUnseen(['alice', ['1', '2']], ['alice', ['1', '2']]);
  api.end();
  await ended(['alice', first], ['alice', second]);
  expect(await resultIds('alice', first)).toEqual(['1', '2']);
  expect(await resultIds('alice', second)).toEqual(['1', '2']);
  expect((await day('alice')).held_usd).toBe(0);
  const rows = (await accountStub(bindings, {}, 'alice').requests({})).data;
  expect(rows.map(({ batch }) => batch).sort()).toEqual([first, second].sort());
});

test('somebody else’s batch of the same size is let go again, and what was never made costs nothing', async () => {
  creates = 'lost';
  const id = await make('alice', ['a1', 'a2']);
  // By the operator's own key, beside this edge.
  api.handle('POST', PATH, JSON.stringify(bodyOf(['x', 'y'])));
  await wakeSeveralTimes(['alice', id]);
  api.end();
  await wakeSeveralTimes(['alice', id]);
  expect((await shown('alice', id)).processing_status).toBe('in_progress');
  expect(await day('alice')).toMatchObject({ settled_usd: 0 });
  expect((await day('alice')).held_usd).toBeGreaterThan(0);
  late += 26 * 60 * MINUTE_MS;
  await ended(['alice', id]);
  expect((await shown('alice', id)).request_counts).toMatchObject({ expired: 2, succeeded: 0 });
  await eventually(async () => expect(await day('alice')).toMatchObject({ settled_usd: 0, held_usd: 0 }));
});

test('a list that is longer than is read does not prove that a batch was never made', async () => {
  const id = await make('alice', ['a1', 'a2']);
  const others = Array.from({ length: 1_000 }, (_, nth) => ({
    id: `msgbatch_other_${nth}`,
    created_at: new Date(Date.now() + 27 * 60 * MINUTE_MS).toISOString(),
    processing_status: 'in_progress',
    request_counts: { processing: 7 },
  }));
  instead = (method, path) =>
    method === 'GET' && path.includes('?limit=') ? Response.json({ data: others, has_more: true }) : undefined;
  late += 26 * 60 * MINUTE_MS;
  await wakeSeveralTimes(['alice', id]);
  expect((await shown('alice', id)).processing_status).toBe('in_progress');
  expect((await day('alice')).held_usd).toBeGreaterThan(0);
  instead = () => undefined;
  api.end();
  await ended(['alice', id]);
  expect(await resultIds('alice', id)).toEqual(['a1', 'a2']);
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
  const [row] = (await accountStub(bindings, {}, 'alice').requests({})).data;
  expect(row).toMatchObject({ status: 'unknown', estimated: true });
});

test('a batch is held exactly where limits estimate what tools cost, and booked so if the upstream has forgotten it', async () => {
  creates = 'answered';
  await accountStub(bindings, {}, 'alice').setLimits({ served_tools: 'estimate', usd_per_day: 100 });
  const search = { ...params('Hi'), tools: [{ type: 'web_search_20250305', name: 'web_search', max_uses: 3 }] };
  const body = { requests: [{ custom_id: 'a1', params: search }, ...bodyOf(['a2']).requests] };
  const response = await app.post(PATH, body, bearer(await tokenOf('alice')));
  const { id } = (await response.json()) as MessageBatch;
  const held = (await day('alice')).held_usd ?? 0;
  const exactly = await app.post(`${PATH}?dry_run=true`, body, bearer(await tokenOf('bob')));
  expect(held).toBe(((await exactly.json()) as { cost_usd: number }).cost_usd);
  api.batches.clear();
  late += 31 * DAY_MS;
  await ended(['alice', id]);
  expect((await day('alice')).settled_usd).toBeCloseTo(held, 8);
  const [row] = (await accountStub(bindings, {}, 'alice').requests({})).data;
  expect(row).toMatchObject({ status: 'unknown', over_hold: false });
  expect((await shown('alice', id)).cost_usd).toBe(row?.cost_usd);
});

test('an item that succeeded without saying what it has used costs its share of the hold', async () => {
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
  const [row] = (await accountStub(bindings, {}, 'alice').requests({})).data;
  expect(row).toMatchObject({ estimated: true, over_hold: false });
});

test('results that are not all there are read again, ever later, and settled when they are', async () => {
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

test('what is given up before its last byte is given back, wherever the object is by then', async () => {
  const opening = async (id: string) => {
    creates = 'answered';
    const batch = await make('alice', [id]);
    const journal = await runInDurableObject(batchStub(bindings, {}, { account: 'alice', id: batch }), (_, ctx) =>
      String(ctx.storage.sql.exec('select journal from record').one().journal),
    );
    return JSON.parse(journal) as BatchOpening;
  };
  const { rows, ...rest } = await opening('a1');
  for (const [nth, step] of (['prepared', 'closing', 'closing twice'] as const).entries()) {
    const id = `msgbatch_${String(nth).padStart(26, '0')}`;
    const stub = batchStub(bindings, {}, { account: 'alice', id });
    await stub.prepare({ ...rest, id, rows: rows.map((row) => ({ ...row, requestId: `req_${id}` })) });
    if (step !== 'prepared') expect(await stub.closing()).toBe(true);
    if (step === 'closing twice') expect(await stub.closing()).toBe(true);
    expect((await stub.read()).kind).toBe('known');
    // Both at once: neither brings back what the other has forgotten.
    await Promise.all([stub.drop(true), stub.drop(true), wakeBatch(id, 'alice')]);
    expect((await stub.read()).kind).toBe('none');
    expect(await stub.closing()).toBe(false);
    expect(await accountStub(bindings, {}, 'alice').request(`req_${id}`)).toMatchObject({
      status: 'unsent',
      cost_usd: 0,
    });
  }
});

test('an account that is erased while its batch is being sent sends nothing any more', async () => {
  creates = 'answered';
  const id = await make('alice', ['a1']);
  const journal = await runInDurableObject(batchStub(bindings, {}, { account: 'alice', id }), (_, ctx) =>
    String(ctx.storage.sql.exec('select journal from record').one().journal),
  );
  const next = `msgbatch_${'0'.repeat(26)}`;
  const stub = batchStub(bindings, {}, { account: 'alice', id: next });
  await stub.prepare({ ...(JSON.parse(journal) as BatchOpening), id: next });
  await stub.erase();
  expect(await stub.closing()).toBe(false);
});
