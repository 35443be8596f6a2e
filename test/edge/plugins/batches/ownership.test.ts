import { runDurableObjectAlarm } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { beforeEach, expect, test, vi } from 'vitest';
import { getAccountStub, getBatchStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { MessageBatch } from '#edge/money/lists/batches-answers.schema.ts';
import { Batch } from '#edge/plugins/batches/batch.ts';
import { createTestApp, readError, type SentRequest, type TestApp } from '#test/support/app.ts';
import { createFakeBatchApi, type FakeBatchApi } from '#test/support/batch-api.ts';
import { endBatch, setBatchUpstream, wakeBatch } from '#test/support/batch-objects.ts';
import { eventually } from '#test/support/eventually.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';

const bindings = env as unknown as Bindings;
const PATH = '/v1/messages/batches';

let api: FakeBatchApi;
let app: TestApp;

function start(vars: Record<string, string> = {}): void {
  const answer = (sent: Pick<SentRequest, 'method' | 'url' | 'text'>) =>
    api.handle(sent.method, sent.url.pathname + sent.url.search, sent.text);
  app = createTestApp(answer, { ...DEPLOYED_VARS, ...vars });
  setBatchUpstream(async (url, { method = '', body }) => {
    const text = await new Response(body ?? '').text();
    return answer({ method, url: new URL(url), text });
  }, vars);
}

beforeEach(() => {
  api = createFakeBatchApi();
});
const as = async (account: string) => bearerHeader(await createToken(account));
const object = (account: string) => getAccountStub(bindings, {}, account);
const says = (content: unknown, more: object = {}) => ({
  model: 'claude-sonnet-5-5',
  max_tokens: 100,
  messages: [{ role: 'user', content }],
  ...more,
});
const plain = { custom_id: 'plain', params: says('Hi') };
const withFile = (file_id: string) => ({
  custom_id: 'file',
  params: says([{ type: 'document', source: { type: 'file', file_id } }]),
});

async function make(account: string, body: unknown): Promise<string> {
  const response = await app.post(PATH, body, await as(account));
  expect(response.status, await response.clone().text()).toBe(200);
  return ((await response.json()) as MessageBatch).id;
}

/** Moves the clock of every batch on. */
function later(ms: number): void {
  const now = Date.now() + ms;
  vi.spyOn(Batch.prototype as unknown as { now(): number }, 'now').mockReturnValue(now);
}

test.each([
  ['file', withFile('made')],
  ['container', { custom_id: 'c', params: says('Hi', { container: 'made' }) }],
  ['thread', { custom_id: 't', params: says('Hi', { thread: { type: 'continue', previous_message_id: 'made' } }) }],
] as const)('the %s of another account is not found, in the first item and in any other', async (kind, named) => {
  start();
  await object('alice').recordCreatedResources([{ kind, id: 'made', upstream: '' }]);
  for (const requests of [[named], [plain, named]]) {
    const refused = await app.post(PATH, { requests }, await as('bob'));
    expect(refused.status).toBe(404);
    expect((await readError(refused)).type).toBe('not_found_error');
    const dry = await app.post(`${PATH}?dry_run=true`, { requests }, await as('bob'));
    expect(dry.status).toBe(404);
  }
  expect(app.sent).toEqual([]);
  await make('alice', { requests: [plain, named] });
  expect(JSON.parse(app.sent[0]?.text ?? '')).toEqual({ requests: [plain, named] });
});

test('for a duplicate id field the upstream receives the value that was checked', async () => {
  start();
  await object('alice').recordCreatedResources([{ kind: 'file', id: 'file_alice', upstream: '' }]);
  await object('bob').recordCreatedResources([{ kind: 'file', id: 'file_bob', upstream: '' }]);
  const twice = (first: string, last: string) =>
    JSON.stringify({ requests: [withFile(last)] }).replace('"file_id":', `"file_id":"${first}","file_id":`);
  await make('bob', twice('file_alice', 'file_bob'));
  expect(app.sent[0]?.text).not.toContain('file_alice');
  expect((await app.post(PATH, twice('file_bob', 'file_alice'), await as('bob'))).status).toBe(404);
  expect(api.createCount).toBe(1);
});

const SIGNING = 'AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY';
const ENTRIES = {
  bedrock: { name: 'bedrock', kind: 'bedrock', region: 'us-east-1' },
  signed: { name: 'signed', kind: 'aws', region: 'us-east-1', workspace: 'w' },
  main: { name: 'main', kind: 'anthropic', base_url: 'https://main.test' },
  second: { name: 'second', kind: 'anthropic', base_url: 'https://second.test' },
};
const upstreams = (...names: (keyof typeof ENTRIES)[]) => ({
  UPSTREAMS: JSON.stringify(names.map((name) => ENTRIES[name])),
  ...Object.fromEntries(
    names.map((name) => [`UPSTREAM_${name.toUpperCase()}_KEY`, name === 'signed' ? SIGNING : 'key']),
  ),
});

test('a batch is sent to an upstream that supports batches and has the files of its first item', async () => {
  start(upstreams('bedrock', 'signed', 'main', 'second'));
  await make('alice', { requests: [plain] });
  expect(app.sent.at(-1)?.url.host).toBe('main.test');
  await object('alice').recordCreatedResources([{ kind: 'file', id: 'file_there', upstream: 'second' }]);
  await make('alice', { requests: [withFile('file_there'), plain] });
  expect(app.sent.at(-1)?.url.host).toBe('second.test');
  const late = await app.post(PATH, { requests: [plain, withFile('file_there')] }, await as('alice'));
  expect(late.status).toBe(400);
  expect((await readError(late)).message).toContain('items refer to files, containers or threads of second');
  expect(api.createCount).toBe(2);
});

test('a batch is rejected if no upstream supports batches', async () => {
  start(upstreams('bedrock', 'signed'));
  const response = await app.post(PATH, { requests: [plain] }, await as('alice'));
  expect(response.status).toBe(400);
  expect((await readError(response)).message).toContain('supports message batches');
  expect(app.sent).toEqual([]);
});

test('a batch of another account is neither found nor listed', async () => {
  start();
  const id = await make('alice', { requests: [plain] });
  const bob = await as('bob');
  const reach = async () => {
    const calls = [
      app.fetch(`${PATH}/${id}`, { headers: bob }),
      app.fetch(`${PATH}/${id}/results`, { headers: bob }),
      app.post(`${PATH}/${id}/cancel`, {}, bob),
      app.fetch(`${PATH}/${id}`, { method: 'DELETE', headers: bob }),
    ];
    expect((await Promise.all(calls)).map(({ status }) => status)).toEqual([404, 404, 404, 404]);
    const list = await app.fetch(PATH, { headers: bob });
    expect(await list.json()).toMatchObject({ data: [], has_more: false });
  };
  await reach();
  expect([...api.batches.values()][0]).toMatchObject({ status: 'in_progress', isCanceled: false });
  await endBatch(api, id, 'alice');
  await reach();
  const own = await app.fetch(`${PATH}/${id}/results`, { headers: await as('alice') });
  expect((await own.text()).trim().split('\n')).toHaveLength(1);
});

/** Ends a batch whose receiver fails at first. @returns its id, and what the receiver is told */
async function endUntold() {
  const url = 'https://hooks.example.com/ended';
  const told: { id: string | null; event: Record<string, unknown> }[] = [];
  vi.spyOn(globalThis, 'fetch').mockImplementation(async (to, init) => {
    expect(String(to)).toBe(url);
    const text = await new Response(init?.body ?? '').text();
    told.push({ id: new Headers(init?.headers).get('webhook-id'), event: JSON.parse(text) as Record<string, unknown> });
    return new Response(null, { status: told.length === 1 ? 500 : 204 });
  });
  const secret = `whsec_${btoa('the-secret-of-the-deliveries-of-tests')}`;
  start({ DELIVER_HOSTS: 'hooks.example.com', DELIVERY_SIGNING_SECRET: secret });
  const id = await make('alice', { requests: [plain], deliver_url: url });
  await endBatch(api, id, 'alice');
  await eventually(() => expect(told).toHaveLength(1));
  return { id, told };
}

test('the end of a batch is delivered until the receiver accepts it, under one event id', async () => {
  const { id, told } = await endUntold();
  for (const minutes of [1, 2, 3]) {
    later(minutes * 60_000);
    await wakeBatch(id, 'alice');
  }
  expect(told).toHaveLength(2);
  expect(told[1]).toEqual(told[0]);
  expect(told[0]).toMatchObject({
    id: `evt_${id}`,
    event: { type: 'batch.ended', event_id: `evt_${id}`, batch: { id, processing_status: 'ended' } },
  });
});

test('an erased batch delivers no further event', async () => {
  const { id, told } = await endUntold();
  later(3 * 60_000);
  await getBatchStub(bindings, {}, { account: 'alice', id }).erase();
  await wakeBatch(id, 'alice');
  expect(api.batches.size).toBe(0);
  expect(told).toHaveLength(1);
});

test('an erased account’s batch is cancelled upstream, settled, and deleted there', async () => {
  start();
  const id = await make('alice', { requests: [plain, { custom_id: 'fast1', params: says('Hi') }] });
  expect((await object('alice').getQuotaReport({})).day.held_usd).toBeGreaterThan(0);
  await object('alice').erase();
  await eventually(async () => {
    await runDurableObjectAlarm(object('alice'));
    await wakeBatch(id, 'alice');
    expect([...api.batches.values()][0]).toMatchObject({ isCanceled: true });
  });
  await endBatch(api, id, 'alice');
  // What it has cost stays in the sums, without a name.
  expect((await object('alice').getQuotaReport({})).day.settled_usd).toBeGreaterThan(0);
  await eventually(async () => {
    await wakeBatch(id, 'alice');
    expect(api.batches.size).toBe(0);
    expect(await object('alice').erase()).toEqual({ done: true, remaining: 0 });
  });
});
