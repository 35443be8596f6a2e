import { runInDurableObject } from 'cloudflare:test';
import Anthropic, { NotFoundError, toFile } from '@anthropic-ai/sdk';
import AnthropicZero from 'anthropic-sdk-0';
import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { MODELS } from '#edge/claude/models/models.ts';
import { toSimulatedModels } from '#edge/claude/simulated-models.ts';
import { createSimulatorStore } from '#edge/claude/simulator-store.ts';
import { parseSettingsOnce, type Settings } from '#edge/config/settings.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { Account } from '#edge/money/account/account.ts';
import { createSimulator } from '#simulator/simulator.ts';
import { createTestApp, type SentRequest, type TestApp } from '#test/support/app.ts';
import { advanceClock } from '#test/support/calendar.ts';
import { bindings, installSimulator } from '#test/support/conversations.ts';
import { caseCount } from '#test/support/property-cases.ts';
import { resetAll } from '#test/support/reset.ts';
import { answerByScript, textAnswer } from '#test/support/scripted-runs.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import {
  contentBlock,
  createErrorResponse,
  messageEnd,
  messageWith as messageOf,
  messageStart,
  sseResponse,
} from '#test/support/wire.ts';

const SIMULATOR = { ...DEPLOYED_VARS, MODE: 'development', ANTHROPIC_API_KEY: undefined, UPSTREAM: 'simulator' };
const HAIKU = 'claude-haiku-5-5';

/** An edge before an upstream that answers as the API does, and notes what it was sent. */
function edge(
  vars: Record<string, unknown> = {},
  before: (sent: SentRequest) => Response | undefined = () => undefined,
): TestApp {
  const answer = createSimulator({ models: toSimulatedModels(MODELS), faults: true });
  return createTestApp(
    async (sent) => {
      const { url, method, headers, body } = sent;
      const first = before(sent);
      if (first) return first;
      const given = new Headers(headers);
      if (headers.get('content-type')?.startsWith('multipart')) given.set('sluice-simulate', 'downloadable');
      const init =
        method === 'GET' || method === 'DELETE' ? { method, headers: given } : { method, headers: given, body };
      return await answer(new Request(url, init));
    },
    { ...DEPLOYED_VARS, UPSTREAM_MAX_RETRIES: '0', ...vars },
  );
}

const headersOf = async (account: string, scopes: ('messages' | 'admin' | 'prefixes')[] = ['messages']) =>
  bearerHeader(await createToken(account, scopes));

async function clientFor(app: TestApp, account: string): Promise<Anthropic> {
  const { authorization = '' } = await headersOf(account);
  return new Anthropic({
    apiKey: authorization.replace('Bearer ', ''),
    baseURL: 'http://localhost:8787',
    maxRetries: 0,
    fetch: (url, init) => app.fetch(String(url), init),
  });
}

const fileOf = async (bytes: number, name = 'a.bin') => await toFile(new Uint8Array(bytes).fill(7), name);
const using = (file_id: string, more: object = {}) => ({
  model: HAIKU,
  max_tokens: 10,
  messages: [
    {
      role: 'user' as const,
      content: [
        { type: 'document', source: { type: 'file', file_id } },
        { type: 'text', text: 'Hi' },
      ],
    },
  ],
  ...more,
});

async function usedBytes(app: TestApp, account: string): Promise<number> {
  const response = await app.fetch(`/accounts/${account}`, { headers: await headersOf(account) });
  return ((await response.json()) as { stored_bytes: { used: number } }).stored_bytes.used;
}

test('an official client uploads, lists, describes, reads, uses and deletes its files', async () => {
  const app = edge();
  const client = await clientFor(app, 'alice');
  const made: Anthropic.FileMetadata[] = [];
  for (let count = 0; count < 5; count++)
    made.unshift(await client.files.upload({ file: await fileOf(1_000 + count) }));
  const [file] = made;
  if (!file) throw new Error('No file.');
  expect(await client.files.retrieveMetadata(file.id)).toEqual(file);
  const listed: unknown[] = [];
  for await (const one of client.files.list({ limit: 2 })) listed.push(one);
  expect(listed).toEqual(made);
  expect((await client.files.list({ ids: [file.id, 'file_none'] })).data).toEqual([file]);
  for (const _ of ['once', 'again']) {
    const content = new Uint8Array(await (await client.files.download(file.id)).arrayBuffer());
    expect(content).toEqual(new Uint8Array(1_004).fill(7));
  }
  const answer = await app.post('/v1/messages', using(file.id), await headersOf('alice'));
  expect(answer.status).toBe(200);
  expect(await client.files.delete(file.id)).toEqual({ id: file.id, type: 'file_deleted' });
  expect((await client.beta.files.list()).data.map(({ id }) => id)).not.toContain(file.id);
});

test('omits a deleted file from the history of the next request, with a warning header', async () => {
  const app = edge();
  const client = await clientFor(app, 'alice');
  const [gone, kept] = [
    await client.files.upload({ file: await fileOf(10) }),
    await client.files.upload({ file: await fileOf(10, 'b.bin') }),
  ];
  const bodies = answerByScript((body) =>
    JSON.stringify(body).includes(gone.id) && isDeleted
      ? createErrorResponse(404, 'not_found_error', `File not found: ${gone.id}`)
      : textAnswer('Sun.'),
  );
  let isDeleted = false;
  const headers = await headersOf('alice');
  const ask = async (content: unknown) => {
    const body = { model: HAIKU, max_tokens: 10, conversation: 'c1', messages: [{ role: 'user', content }] };
    const answer = await app.post('/v1/messages', body, headers);
    expect(await answer.text()).toContain('Sun.');
    await app.waitUntilSettled();
    return answer.headers.get('sluice-history-omitted');
  };
  const look = [gone, kept].map(({ id }) => ({ type: 'document', source: { type: 'file', file_id: id } }));
  expect(await ask([...look, { type: 'text', text: 'Hi' }])).toBeNull();
  expect(await ask('And now?')).toBeNull();
  const asked = vi.spyOn(Account.prototype, 'findDeletedFiles');
  await client.files.delete(gone.id);
  isDeleted = true;
  expect(await ask('And then?')).toBe('1');
  expect(bodies).toHaveLength(3);
  expect(JSON.stringify(bodies[2]?.messages[0])).toContain('[a document that can no longer be read]');
  expect(JSON.stringify(bodies[2]?.messages[0])).toContain(kept.id);
  expect(asked).toHaveBeenCalledTimes(1);
  expect(await ask('Thanks')).toBeNull();
  expect(bodies).toHaveLength(4);
  // Only files that are still sent are looked up.
  expect(asked.mock.calls.at(-1)).toEqual([[kept.id]]);
  const rows = await app.fetch('/conversations/c1/messages', { headers });
  expect(await rows.text()).toContain(gone.id);
});

test('serves HTML files with a sandbox policy, whatever the upstream’s headers allow', async () => {
  for (const length of [undefined, '25']) {
    const app = edge({}, ({ url }) => {
      if (!url.pathname.endsWith('/content')) return undefined;
      const page = new Blob(['<script>alert(1)</script>']).stream();
      const headers = { 'content-type': 'text/html', 'content-security-policy': 'sandbox allow-scripts' };
      return new Response(page, { headers: { ...headers, ...(length && { 'content-length': length }) } });
    });
    const client = await clientFor(app, 'alice');
    const { id } = await client.files.upload({ file: await fileOf(10) });
    const { headers, body } = await client.files.download(id);
    await body?.cancel();
    expect(headers.get('content-security-policy')).toBe('sandbox');
    expect(headers.get('x-content-type-options')).toBe('nosniff');
  }
});

test('the older official client uploads, lists, describes and deletes its files through its beta methods', async () => {
  const app = edge();
  const { authorization = '' } = await headersOf('alice');
  const fetchIt = ((url, init) => app.fetch(String(url), init)) as typeof fetch;
  const client = new AnthropicZero({
    apiKey: authorization.replace('Bearer ', ''),
    baseURL: 'http://localhost:8787',
    fetch: fetchIt,
  });
  const file = await client.beta.files.upload({ file: await fileOf(10) });
  expect(await client.beta.files.retrieveMetadata(file.id)).toEqual(file);
  const listed: unknown[] = [];
  for await (const one of client.beta.files.list()) listed.push(one);
  expect(listed).toEqual([file]);
  await client.beta.files.delete(file.id);
});

test('returns 404 for another account’s file, and sends nothing about it upstream', async () => {
  installSimulator();
  const app = edge();
  const { id } = await (await clientFor(app, 'alice')).files.upload({ file: await fileOf(10) });
  const bob = await clientFor(app, 'bob');
  const before = app.sent.length;
  await expect(bob.files.retrieveMetadata(id)).rejects.toThrow(NotFoundError);
  await expect(bob.files.delete(id)).rejects.toThrow(NotFoundError);
  await expect(bob.files.download(id)).rejects.toThrow(NotFoundError);
  expect((await bob.files.list()).data).toEqual([]);
  expect((await bob.files.list({ ids: [id] })).data).toEqual([]);
  const headers = await headersOf('bob', ['messages', 'prefixes']);
  const { max_tokens: _, ...prompt } = using(id);
  for (const [path, body] of [
    ['/v1/messages', using(id)],
    ['/messages', using(id)],
    ['/v1/messages/count_tokens', prompt],
    ['/v1/messages', { ...using(id), conversation: 'c1' }],
  ] as const) {
    const response = await app.post(path, body, headers);
    expect([path, response.status]).toEqual([path, 404]);
    expect(await response.text()).toContain('not_found_error');
  }
  const { messages } = using(id);
  const put = await app.fetch('/prefixes/p', {
    method: 'PUT',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ messages }),
  });
  expect(put.status).toBe(404);
  expect(app.sent.slice(before)).toEqual([]);
});

test.each([
  ['an escaped key', (id: string) => JSON.stringify(using(id)).replace('file_id', 'file\\u005fid')],
  ['an escaped id', (id: string) => JSON.stringify(using(id)).replace(id, `\\u0066${id.slice(1)}`)],
  [
    'a container by its object',
    (id: string) =>
      JSON.stringify({ ...using('file_none'), messages: [{ role: 'user', content: 'Hi' }], container: { id } }),
  ],
  [
    'a container by its id',
    (id: string) =>
      JSON.stringify({ ...using('file_none'), messages: [{ role: 'user', content: 'Hi' }], container: id }),
  ],
])('returns 404 for a message that names another account’s resource with %s', async (_, write) => {
  const app = edge();
  const { id } = await (await clientFor(app, 'alice')).files.upload({ file: await fileOf(10) });
  const before = app.sent.length;
  const response = await app.post('/v1/messages', write(id), await headersOf('bob'));
  expect(response.status).toBe(404);
  expect(app.sent.slice(before)).toEqual([]);
});

test('sends only the checked value of a repeated key upstream', async () => {
  const app = edge();
  const { id } = await (await clientFor(app, 'alice')).files.upload({ file: await fileOf(10) });
  const { id: own } = await (await clientFor(app, 'bob')).files.upload({ file: await fileOf(10) });
  const before = app.sent.length;
  const text = JSON.stringify(using(own)).replace('"file_id":', `"file_id":"${id}","file_id":`);
  const response = await app.post('/v1/messages', text, await headersOf('bob'));
  expect(response.status).toBe(200);
  for (const { text: sent } of app.sent.slice(before)) expect(sent).not.toContain(id);
});

test('never sends another account’s file id upstream, whatever the request', async () => {
  const accounts = ['alice', 'bob'] as const;
  const places = fc.constantFrom(
    'message',
    'count',
    'conversation',
    'container',
    'thread',
    'retrieve',
    'delete',
    'content',
    'ids',
  );
  const step = fc.record({
    by: fc.constantFrom(...accounts),
    of: fc.constantFrom(...accounts),
    nth: fc.nat(3),
    place: places,
  });
  const property = fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), async (steps) => {
    const app = edge();
    const files = new Map<string, string[]>();
    for (const account of accounts) {
      const client = await clientFor(app, account);
      const made = [];
      for (let count = 0; count < 2; count++) made.push((await client.files.upload({ file: await fileOf(3) })).id);
      files.set(account, made);
    }
    for (const { by, of, nth, place } of steps) {
      const before = app.sent.length;
      const id = files.get(of)?.[nth % 2] ?? '';
      const headers = await headersOf(by);
      const plain = { model: HAIKU, max_tokens: 5, messages: [{ role: 'user', content: 'Hi' }] };
      const asked = {
        message: () => app.post('/v1/messages', using(id), headers),
        count: () => app.post('/v1/messages/count_tokens', { ...using(id), max_tokens: undefined }, headers),
        conversation: () => app.post('/v1/messages', { ...using(id), conversation: 'c' }, headers),
        container: () => app.post('/v1/messages', { ...plain, container: id }, headers),
        thread: () =>
          app.post('/v1/messages', { ...plain, thread: { type: 'continue', previous_message_id: id } }, headers),
        retrieve: () => app.fetch(`/v1/files/${id}`, { headers }),
        delete: () => app.fetch(`/v1/files/${id}`, { method: 'DELETE', headers }),
        content: () => app.fetch(`/v1/files/${id}/content`, { headers }),
        ids: () => app.fetch(`/v1/files?ids[]=${id}`, { headers }),
      };
      await (await asked[place]()).text();
      await app.waitUntilSettled();
      const others = accounts.filter((account) => account !== by).flatMap((account) => files.get(account) ?? []);
      for (const { url, text } of app.sent.slice(before)) {
        for (const other of others) expect(`${url} ${text}`).not.toContain(other);
      }
    }
    await resetAll();
  });
  await fc.assert(property, { numRuns: caseCount(10) });
});

test('the container, files and thread that a response creates belong to its account', async () => {
  const output = [{ type: 'bash_code_execution_output', file_id: 'file_made' }];
  const result = {
    type: 'bash_code_execution_tool_result',
    tool_use_id: 'srvtoolu_1',
    content: { type: 'bash_code_execution_result', content: output },
  };
  const usage = { input_tokens: 1, output_tokens: 1 };
  const container = { id: 'container_made', expires_at: '2026-11-22T00:00:00Z' };
  const message = messageOf({ id: 'msg_made', model: HAIKU, container, content: [result], usage });
  const stream =
    messageStart({ ...message, container: null, content: [] }) +
    contentBlock(result) +
    messageEnd({ output_tokens: 1 }, { stop_reason: 'end_turn', container });
  for (const streams of [false, true]) {
    const app = createTestApp(() => (streams ? sseResponse(stream) : Response.json(message)), DEPLOYED_VARS);
    const plain = { model: HAIKU, max_tokens: 5, messages: [{ role: 'user', content: 'Hi' }], stream: streams };
    const alice = await headersOf('alice');
    const tools = [{ type: 'code_execution_20250825', name: 'code_execution' }];
    await (await app.post('/v1/messages', { ...plain, tools, thread: { type: 'create' } }, alice)).text();
    await app.waitUntilSettled();
    const uses = [
      { ...plain, container: 'container_made' },
      { ...plain, thread: { type: 'continue', previous_message_id: 'msg_made' }, messages: [] },
      { ...using('file_made'), stream: streams },
    ];
    for (const body of uses) {
      expect((await app.post('/v1/messages', body, alice)).status).toBe(200);
      const count = app.sent.length;
      const refused = await app.post('/v1/messages', body, await headersOf('bob'));
      expect(refused.status).toBe(404);
      expect(app.sent.length).toBe(count);
      const { error } = (await refused.json()) as { error: { details?: unknown } };
      if ('thread' in body) expect(error.details).toEqual({ error_code: 'thread_not_found' });
    }
    await resetAll();
  }
});

test('rejects a thread together with a conversation, and a new thread without messages', async () => {
  const app = edge();
  const headers = await headersOf('alice');
  const plain = { model: HAIKU, max_tokens: 5, messages: [{ role: 'user', content: 'Hi' }] };
  const both = await app.post('/v1/messages', { ...plain, thread: { type: 'create' }, conversation: 'c' }, headers);
  expect(both.status).toBe(400);
  const empty = await app.post('/v1/messages', { ...plain, messages: [], thread: { type: 'create' } }, headers);
  expect(empty.status).toBe(400);
  expect(await empty.text()).toContain('at least one message is required');
  expect(app.sent).toEqual([]);
});

test('does not look up ownership for a message that names no resource', async () => {
  const app = edge();
  const spy = vi.spyOn(Account.prototype, 'ownership');
  const plain = { model: HAIKU, max_tokens: 5, messages: [{ role: 'user', content: 'Hi' }] };
  await app.post('/v1/messages', plain, await headersOf('alice'));
  expect(spy).not.toHaveBeenCalled();
});

test('removes a file from its account once the upstream returns 404 for it', async () => {
  let isGone = false;
  const error = { type: 'error', error: { type: 'not_found_error', message: 'It has expired.' } };
  const app = edge({}, ({ url }) =>
    isGone && url.pathname.startsWith('/v1/files/') ? Response.json(error, { status: 404 }) : undefined,
  );
  const client = await clientFor(app, 'alice');
  const { id } = await client.files.upload({ file: await fileOf(6_000) });
  expect(await usedBytes(app, 'alice')).toBe(6_000);
  isGone = true;
  await expect(client.files.retrieveMetadata(id)).rejects.toThrow('It has expired.');
  expect(await usedBytes(app, 'alice')).toBe(0);
});

test('counts files towards an account’s stored bytes until they are deleted, also with concurrent deletions', async () => {
  const app = edge();
  await app.fetch('/accounts/alice/limits', {
    method: 'PUT',
    headers: { 'content-type': 'application/json', ...(await headersOf('root', ['admin'])) },
    body: '{"stored_bytes":10000}',
  });
  const client = await clientFor(app, 'alice');
  const { id } = await client.files.upload({ file: await fileOf(6_000) });
  expect(await usedBytes(app, 'alice')).toBe(6_000);
  const before = app.sent.length;
  await expect(client.files.upload({ file: await fileOf(6_000) })).rejects.toThrow('This file does not fit');
  expect(app.sent.length).toBe(before);
  const both = await Promise.allSettled([client.files.delete(id), client.files.delete(id)]);
  expect(both.map(({ status }) => status).toSorted()).toContain('fulfilled');
  expect(await usedBytes(app, 'alice')).toBe(0);
  await client.files.upload({ file: await fileOf(6_000) });
});

test.each([
  ['no form', { 'content-type': 'application/json' }, '{}', 415],
  ['a compressed form', { 'content-type': 'multipart/form-data; boundary=x', 'content-encoding': 'gzip' }, '{}', 415],
  ['too long a form', { 'content-type': 'multipart/form-data; boundary=x' }, 'x'.repeat(20_000), 413],
])('rejects %s before any upstream request', async (_, given, body, status) => {
  const app = edge({ MAX_FILE_BYTES: '1000' });
  const response = await app.fetch('/v1/files', {
    method: 'POST',
    headers: { ...(await headersOf('alice')), 'content-length': String(body.length), ...given },
    body,
  });
  expect(response.status).toBe(status);
  expect(app.sent).toEqual([]);
  expect(await usedBytes(app, 'alice')).toBe(0);
});

test('does not count an upload that the upstream rejects towards the stored bytes', async () => {
  const app = edge();
  const response = await app.fetch('/v1/files', {
    method: 'POST',
    headers: { ...(await headersOf('alice')), 'content-type': 'multipart/form-data; boundary=x' },
    body: '--x\r\ncontent-disposition: form-data; name="other"\r\n\r\na\r\n--x--\r\n',
  });
  expect(response.status).toBe(400);
  await app.waitUntilSettled();
  expect(await usedBytes(app, 'alice')).toBe(0);
});

/** Has accounts call the simulator by these settings, until the test ends. */
function withSettings(settings: () => Settings): void {
  vi.spyOn(Account.prototype as unknown as { settings(): Settings }, 'settings').mockImplementation(settings);
}

const simulatorSettings = (store: unknown = bindings.STORE) =>
  parseSettingsOnce({ UPSTREAM: 'simulator', STORE: store }, true);

/** Moves the clock of an account on, and has its alarm do what is due. */
async function later(account: string, ms: number): Promise<void> {
  const now = Date.now() + ms;
  const spy = vi.spyOn(Account.prototype as unknown as { now(): number }, 'now').mockReturnValue(now);
  const stub = getAccountStub(bindings, {}, account);
  await runInDurableObject(stub, async (object) => await (object as unknown as Account).alarm());
  spy.mockRestore();
}

async function filesUpstream(): Promise<string[]> {
  return (await createSimulatorStore(bindings.STORE)?.listKeys('file:')) ?? [];
}

test('deletes an erased account’s files upstream, and retries until that succeeds', async () => {
  const app = createTestApp(() => Response.error(), SIMULATOR);
  const client = await clientFor(app, 'alice');
  for (let count = 0; count < 3; count++) await client.files.upload({ file: await fileOf(100) });
  expect(await filesUpstream()).toHaveLength(3);
  let failures = 5;
  const broken = new Proxy(bindings.STORE, {
    get: (store, name) => {
      if (name !== 'get') return Reflect.get(store, name) as unknown;
      return async () => {
        throw new Error('The upstream is down.');
      };
    },
  });
  const good = simulatorSettings();
  withSettings(() => (failures-- > 0 ? simulatorSettings(broken) : good));
  const headers = await headersOf('root', ['admin']);
  const erase = async () => {
    const response = await app.fetch('/accounts/alice', { method: 'DELETE', headers });
    return [response.status, ((await response.json()) as { remaining?: number }).remaining];
  };
  expect((await erase())[1]).toBe(3);
  for (let round = 1; round <= 8; round++) await later('alice', round * 60_000);
  expect(failures).toBeLessThan(0);
  expect(await filesUpstream()).toEqual([]);
  expect((await erase())[1] ?? 0).toBe(0);
});

test('keeps counting a file whose upload response was lost, unless the upstream does not have the file', async () => {
  let loses = false;
  const app = createTestApp(
    async ({ url, method, headers, body }) => {
      const upstream = createSimulator({
        models: toSimulatedModels(MODELS),
        store: createSimulatorStore(bindings.STORE),
      });
      const given = new Headers(headers);
      given.set('x-api-key', 'simulator');
      const address = `https://simulator.invalid${url.pathname}${url.search}`;
      if (loses) await upstream(new Request(address, { method, headers: given, body }));
      // A connection that is refused at once was never used: this one broke late.
      advanceClock(80);
      throw new TypeError('The connection broke.');
    },
    { ...DEPLOYED_VARS, UPSTREAM_MAX_RETRIES: '0' },
  );
  withSettings(() => simulatorSettings());
  for (const made of [true, false]) {
    loses = made;
    const account = made ? 'alice' : 'bob';
    await expect((await clientFor(app, account)).files.upload({ file: await fileOf(5_000) })).rejects.toThrow();
    await app.waitUntilSettled();
    expect(await usedBytes(app, account)).toBeGreaterThanOrEqual(5_000);
    if (!made)
      await bindings.STORE.list({ prefix: 'simulator:' }).then(
        async ({ keys }) => await Promise.all(keys.map(({ name }) => bindings.STORE.delete(name))),
      );
    await later(account, 30 * 60_000);
    expect((await usedBytes(app, account)) > 0).toBe(made);
  }
});

test('records an upload whose account object dies between the upstream’s response and the row', async () => {
  const app = edge();
  const real = Account.prototype.endUpload;
  let deaths = 2;
  vi.spyOn(Account.prototype, 'endUpload').mockImplementation(function (this: Account, report) {
    if (deaths-- > 0) throw Object.assign(new Error('The object died.'), { retryable: true });
    real.call(this, report);
  });
  const client = await clientFor(app, 'alice');
  const file = await client.files.upload({ file: await fileOf(10) });
  expect((await client.files.list()).data).toEqual([file]);
  expect(await usedBytes(app, 'alice')).toBe(10);
});
