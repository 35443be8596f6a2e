/** What items name, and what their answers give out: files, containers, threads, by prefixes too. */
import { env } from 'cloudflare:workers';
import { beforeEach, expect, test } from 'vitest';
import type { Scope } from '#edge/auth/identity/identity.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { MessageBatch } from '#edge/money/lists/batches-answers.schema.ts';
import { createTestApp, readError, type SentRequest, type TestApp } from '#test/support/app.ts';
import { createFakeBatchApi, type FakeBatchApi } from '#test/support/batch-api.ts';
import { endBatch, setBatchUpstream } from '#test/support/batch-objects.ts';
import { SMALL_MESSAGE } from '#test/support/small-message.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';

const bindings = env as unknown as Bindings;
const PATH = '/v1/messages/batches';

let api: FakeBatchApi;
let app: TestApp;

beforeEach(() => {
  api = createFakeBatchApi();
});
/** An edge before upstreams that have batches, files and counts. */
function start(vars: Record<string, string> = {}): void {
  const answer = ({ method, url, text }: Pick<SentRequest, 'method' | 'url' | 'text'>) => {
    if (url.pathname === '/v1/files') return Response.json(FILE);
    if (url.pathname.endsWith('/count_tokens')) return Response.json({ input_tokens: 20 });
    if (url.pathname.startsWith(PATH)) return api.handle(method, url.pathname + url.search, text);
    return Response.json({ ...SMALL_MESSAGE, model: (JSON.parse(text) as { model: string }).model });
  };
  app = createTestApp(answer, { ...DEPLOYED_VARS, UPSTREAM_MAX_RETRIES: '0', ...vars });
  setBatchUpstream(async (to, { method = '', body }) => {
    const text = await new Response(body ?? '').text();
    return answer({ method, url: new URL(to), text });
  }, vars);
}

const FILE = {
  id: 'file_uploaded',
  type: 'file',
  filename: 'a.txt',
  mime_type: 'text/plain',
  size_bytes: 3,
  created_at: '2026-11-20T12:00:00Z',
  downloadable: false,
};
const upstreams = (...names: string[]) => ({
  UPSTREAMS: JSON.stringify(names.map((name) => ({ name, kind: 'anthropic', base_url: `https://${name}.test` }))),
  ...Object.fromEntries(names.map((name) => [`UPSTREAM_${name.toUpperCase()}_KEY`, 'key'])),
});

const object = (account: string) => getAccountStub(bindings, {}, account);
const as = async (account: string, scopes: Scope[] = ['messages', 'prefixes']) =>
  bearerHeader(await createToken(account, scopes));
const document = (file_id: string) => ({ type: 'document', source: { type: 'file', file_id } });
const says = (content: unknown, more: object = {}) => ({
  model: 'claude-sonnet-5-5',
  max_tokens: 100,
  messages: [{ role: 'user', content }],
  ...more,
});
const item = (custom_id: string, params: object) => ({ custom_id, params });
const CODE = { tools: [{ type: 'code_execution_20250825', name: 'code_execution' }] };

async function make(account: string, ...requests: object[]): Promise<string> {
  const response = await app.post(PATH, { requests }, await as(account));
  expect(response.status, await response.clone().text()).toBe(200);
  return ((await response.json()) as MessageBatch).id;
}

async function putPrefix(name: string, content: object, account = 'alice', scopes?: Scope[]): Promise<void> {
  const headers = { 'content-type': 'application/json', ...(await as(account, scopes)) };
  const response = await app.fetch(`/prefixes/${name}`, { method: 'PUT', headers, body: JSON.stringify(content) });
  expect(response.status, await response.text()).toBe(200);
}

/** Where the last create has gone. */
const goneTo = () => app.sent.findLast(({ method, url }) => method === 'POST' && url.pathname === PATH)?.url.host;

test('files and containers in a batch’s results belong to its account once it has ended', async () => {
  start();
  const id = await make('alice', item('coding', says('Plot it.', CODE)), item('plain', says('Hi')));
  const made = ['file_coding', 'container_coding'];
  expect(await object('alice').ownership(made)).toEqual([]);
  await endBatch(api, id, 'alice');
  expect(await object('alice').ownership([...made, 'file_other'])).toEqual([
    { id: 'container_coding', kind: 'container', upstream: '' },
    { id: 'file_coding', kind: 'file', upstream: '' },
  ]);
  const naming = says([document('file_coding')], { container: 'container_coding' });
  expect((await app.post('/v1/messages', naming, await as('alice'))).status).toBe(200);
  expect((await app.post('/v1/messages', naming, await as('bob'))).status).toBe(404);
  await make('alice', item('next', naming));
});

test('all files that a batch creates are recorded for its account, even if that needs several calls', async () => {
  start();
  const ids = Array.from({ length: 450 }, (_, nth) => `item${nth}`);
  const id = await make('alice', ...ids.map((custom_id) => item(custom_id, says('Plot it.', CODE))));
  await endBatch(api, id, 'alice');
  const files = ids.map((one) => `file_${one}`);
  expect(await object('alice').ownership(files)).toHaveLength(ids.length);
});

test('no id in a batch’s results is recorded if no item can create a resource', async () => {
  start();
  const id = await make('alice', item('plain', says('Hi')));
  await endBatch(api, id, 'alice');
  expect(await object('alice').ownership(['msg_plain'])).toEqual([]);
});

test('batches and messages that refer to an uploaded file are sent to the file’s upstream', async () => {
  start(upstreams('second'));
  const form = new FormData();
  form.append('file', new File(['abc'], 'a.txt'));
  const uploaded = await app.fetch('/v1/files', { method: 'POST', headers: await as('alice'), body: form });
  expect(uploaded.status, await uploaded.text()).toBe(200);
  // The operator adds another one, and prefers it.
  start(upstreams('main', 'second'));
  await make('alice', item('plain', says('Hi')));
  expect(goneTo()).toBe('main.test');
  await make('alice', item('named', says([document(FILE.id)])));
  expect(goneTo()).toBe('second.test');
  expect((await app.post('/v1/messages', says([document(FILE.id)]), await as('alice'))).status).toBe(200);
  expect(app.sent.at(-1)?.url.host).toBe('second.test');
});

test('a prefix is applied to its item, and an unknown prefix is reported with the item’s position', async () => {
  start();
  await putPrefix('support', { system: 'Be kind.', model: 'claude-haiku-5-5', max_tokens: 50 });
  const asks = { prefix: 'support', messages: [{ role: 'user', content: 'Hi' }] };
  await make('alice', item('a', asks), item('b', says('Hi')));
  const [batch] = [...api.batches.values()];
  expect(batch?.items.map(({ model }) => model)).toEqual(['claude-haiku-5-5', 'claude-sonnet-5-5']);
  expect(batch?.items[0]?.params).toMatchObject({ max_tokens: 50, system: [{ type: 'text', text: 'Be kind.' }] });
  expect(batch?.items[0]?.params).not.toHaveProperty('prefix');
  const response = await app.post(PATH, { requests: [item('a', asks), item('b', asks)] }, await as('bob'));
  expect(response.status).toBe(404);
  expect((await readError(response)).message).toMatch(/^requests\.0.*\(custom_id a\)$/);
});

test('a batch is sent to the upstream that has the files of its first item’s prefix', async () => {
  start(upstreams('main', 'second'));
  await object('alice').recordCreatedResources([{ kind: 'file', id: 'file_there', upstream: 'second' }]);
  await putPrefix('manual', { messages: [{ role: 'user', content: [document('file_there')] }] });
  const asks = { ...says('Hi'), prefix: 'manual' };
  await make('alice', item('a', asks), item('b', says('Hi')));
  expect(goneTo()).toBe('second.test');
  const late = await app.post(PATH, { requests: [item('a', says('Hi')), item('b', asks)] }, await as('alice'));
  expect(late.status).toBe(400);
  expect((await readError(late)).message).toContain('items refer to files, containers or threads of second');
  expect(api.createCount).toBe(1);
});

test('a prefix of the deployment may refer to files that the caller does not own', async () => {
  start(upstreams('main', 'second'));
  await object('admin').recordCreatedResources([{ kind: 'file', id: 'file_shared', upstream: 'main' }]);
  await putPrefix('shared', { messages: [{ role: 'user', content: [document('file_shared')] }] }, 'admin', ['admin']);
  await make('bob', item('a', { ...says('Hi'), prefix: 'shared' }));
  expect(goneTo()).toBe('main.test');
  const named = await app.post(PATH, { requests: [item('a', says([document('file_shared')]))] }, await as('bob'));
  expect(named.status).toBe(404);
});
