import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import { beforeEach, expect, test } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Limits } from '#edge/money/budget/limits.schema.ts';
import { createTestApp, readError, type TestApp } from '#test/support/app.ts';
import { bindings, installSimulator, stubOf } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { resetAll } from '#test/support/reset.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';

const NOTHING: Limits = {
  requests_per_minute: 0,
  input_tokens_per_minute: 0,
  output_tokens_per_minute: 0,
  count_requests_per_minute: 0,
  usd_per_day: 0,
  usd_per_week: 0,
  usd_per_month: 0,
  concurrent_requests: 0,
  conversations: 0,
  stored_bytes: 0,
};
/** Nobody else's: a conversation that another test leaves behind reports to its own account, whenever it does. */
const OWNER = 'keeper';
const MODEL = 'claude-opus-5-5';
const ASK = { model: MODEL, max_tokens: 20, stream: false, messages: [{ role: 'user', content: 'Hi' }] };

let app: TestApp;
let headers: Record<string, string>;
beforeEach(async () => {
  installSimulator();
  app = createTestApp(() => Response.json({ input_tokens: 1, data: [] }), DEPLOYED_VARS);
  headers = bearerHeader(await createToken(OWNER, ['messages', 'prefixes', 'classify']));
});
const send = async (method: string, path: string, body?: unknown) =>
  await app.fetch(path, {
    method,
    headers: { ...headers, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
const limit = async (limits: Limits) => await getAccountStub(bindings, {}, OWNER).setLimits(limits);
const stored = async () => {
  const { conversations, stored_bytes } = await getAccountStub(bindings, {}, OWNER).getQuotaReport();
  return { conversations: conversations.used, bytes: stored_bytes.used };
};
const listed = async () => {
  const { data } = (await (await send('GET', '/conversations?limit=1000')).json()) as { data: { id: string }[] };
  return data.map(({ id }) => id).sort();
};

const STORING: [string, string, unknown][] = [
  ['POST', '/conversations', { id: 'c1', system: 'x'.repeat(1_000) }],
  ['POST', '/conversations/old/fork', { id: 'c2' }],
  ['PATCH', '/conversations/old', { metadata: { note: 'x'.repeat(4_000) } }],
  ['POST', '/messages', { ...ASK, conversation: 'c3' }],
  ['POST', '/messages', { ...ASK, conversation: 'old' }],
  ['PUT', '/prefixes/mine', { system: 'x'.repeat(1_000), model: MODEL }],
  ['PUT', '/classifiers/mine', { labels: ['a', 'b'] }],
];

test('rejects everything that an account with limits of 0 tries to store', async () => {
  expect((await send('POST', '/conversations', { id: 'old', title: 'Old' })).status).toBe(201);
  await eventually(async () => expect(await listed()).toEqual(['old']));
  const before = await stored();
  await limit(NOTHING);
  for (const [method, path, body] of STORING) {
    const response = await send(method, path, body);
    expect([400, 429], `${method} ${path}`).toContain(response.status);
    expect(response.headers.get('sluice-limited-by')).toBe('account');
  }
  expect((await send('GET', '/models')).status).toBe(429);
  await app.waitUntilSettled();
  expect(await listed()).toEqual(['old']);
  expect(await stored()).toEqual(before);
  expect(await (await send('GET', '/conversations/old')).json()).toMatchObject({ title: 'Old', metadata: null });
  expect(app.sent).toEqual([]);
});

test.each([
  ['conversations', { conversations: 0 }],
  ['stored_bytes', { stored_bytes: 0 }],
] as const)('rejects creation if only the limit %s is 0, and names the limit', async (name, limits) => {
  await limit(limits);
  for (const [method, path, body] of STORING) {
    if (path.includes('old')) continue;
    if (name === 'conversations' && method === 'PUT') continue;
    const response = await send(method, path, body);
    expect(response.status, `${method} ${path}`).toBe(400);
    expect((await readError(response)).message).toContain(name);
    expect(response.headers.get('x-should-retry')).toBe(method === 'PUT' ? null : 'false');
  }
  expect(await stored()).toEqual({ conversations: 0, bytes: 0 });
});

test('creates at most `conversations` conversations under concurrent requests of different routes', async () => {
  await limit({ conversations: 3 });
  const asked = Array.from({ length: 12 }, (_, n) => {
    if (n % 2 === 0) return send('POST', '/conversations', { id: `c${n}` });
    return send('POST', '/messages', { ...ASK, conversation: `c${n}` });
  });
  const statuses = (await Promise.all(asked)).map(({ status }) => status);
  expect(statuses.filter((status) => status < 300)).toHaveLength(3);
  expect(statuses.filter((status) => status === 400)).toHaveLength(9);
  await eventually(async () => expect(await listed()).toHaveLength(3));
  expect((await stored()).conversations).toBe(3);
  // Those that are there go on, and one that goes frees bytes.
  const [first = '', second = ''] = await listed();
  expect((await send('POST', '/messages', { ...ASK, conversation: first })).status).toBe(200);
  expect((await send('DELETE', `/conversations/${second}`)).status).toBe(200);
  await eventually(async () => expect((await stored()).conversations).toBe(2));
  expect((await send('POST', `/conversations/${first}/fork`, { id: 'copy' })).status).toBe(201);
  expect((await send('POST', `/conversations/${first}/fork`, { id: 'copy2' })).status).toBe(400);
});

test('counts the size of the databases, and stores at most `stored_bytes`, copies included', async () => {
  await limit({ stored_bytes: 3_000_000 });
  const system = 'x'.repeat(900_000);
  const created = await Promise.all(
    [1, 2, 3, 4, 5].map((n) => send('POST', '/conversations', { id: `c${n}`, system })),
  );
  const statuses = created.map(({ status }) => status);
  expect(statuses.filter((status) => status === 201).length).toBeLessThanOrEqual(3);
  await eventually(async () => expect((await stored()).conversations).toBe(statuses.filter((s) => s === 201).length));
  const ids = await listed();
  let bytes = 0;
  for (const id of ids) {
    bytes += await runInDurableObject(stubOf(id, OWNER), (_, { storage }) => storage.sql.databaseSize);
  }
  // A page or two of a database is written after it has been measured.
  await eventually(async () =>
    expect(Math.abs((await stored()).bytes - bytes)).toBeLessThanOrEqual(8_192 * ids.length),
  );
  expect(bytes).toBeLessThanOrEqual(3_200_000);
  // Nothing of a body tells how large a copy will be.
  await limit({ stored_bytes: bytes + 500_000 });
  const copied = await send('POST', `/conversations/${ids[0]}/fork`, {});
  expect((await readError(copied)).message).toContain('stored_bytes');
  const before = await stored();
  expect((await send('PUT', '/classifiers/mine', { labels: ['a', 'b'] })).status).toBe(200);
  expect((await stored()).bytes).toBeGreaterThan(before.bytes);
});

test('counts creating, forking and changing a conversation, storing a classifier, and listing models as requests', async () => {
  await send('POST', '/conversations', { id: 'old' });
  for (const [method, path, body] of [
    ['POST', '/conversations', {}],
    ['POST', '/conversations/old/fork', {}],
    ['PATCH', '/conversations/old', { title: 'New' }],
    ['PUT', '/classifiers/mine', { labels: ['a', 'b'] }],
    ['GET', '/models', undefined],
    ['GET', '/v1/models/x', undefined],
  ] as const) {
    await resetAll();
    await send('POST', '/conversations', { id: 'old' });
    await limit({ requests_per_minute: 1.001 });
    const began = Date.now();
    const [first, second] = [await send(method, path, body), await send(method, path, body)];
    const seconds = (Date.now() - began) / 1_000;
    expect([first.status, second.status], `${method} ${path}`).toEqual([first.ok ? first.status : 200, 429]);
    // The bucket fills while the second one is on its way.
    expect(Number(second.headers.get('retry-after'))).toBeLessThanOrEqual(60);
    expect(Number(second.headers.get('retry-after'))).toBeGreaterThanOrEqual(Math.floor(59 - seconds));
    if (first.headers.has('anthropic-ratelimit-requests-remaining')) {
      expect(first.headers.get('anthropic-ratelimit-requests-remaining')).toBe('0');
    }
  }
});

test('keeps the state of the request rate after a restart', async () => {
  await limit({ requests_per_minute: 1 });
  expect((await send('POST', '/conversations', {})).status).toBe(201);
  await app.waitUntilSettled();
  await abortAllDurableObjects();
  expect((await send('POST', '/conversations', {})).status).toBe(429);
});

test('rejects a longer retention_seconds than RETENTION_DAYS, except from an admin', async () => {
  app = createTestApp(() => Response.json({}), { ...DEPLOYED_VARS, RETENTION_DAYS: '2' });
  const most = 2 * 86_400;
  await send('POST', '/conversations', { id: 'old' });
  for (const [method, path] of [
    ['POST', '/conversations'],
    ['PATCH', '/conversations/old'],
  ] as const) {
    expect((await send(method, path, { retention_seconds: most })).ok).toBe(true);
    const refused = await send(method, path, { retention_seconds: most + 1 });
    expect([refused.status, (await readError(refused)).message]).toEqual([400, expect.stringContaining(String(most))]);
  }
  headers = bearerHeader(await createToken(OWNER, ['admin']));
  expect((await send('PATCH', '/conversations/old', { retention_seconds: most + 1 })).status).toBe(200);
});

const large = () => Object.fromEntries(Array.from({ length: 60 }, (_, n) => [`k${n}`, 'x'.repeat(4_000)]));

test('counts metadata as stored bytes', async () => {
  await limit({ stored_bytes: 1_000_000 });
  const statuses: number[] = [];
  for (let n = 0; n < 6; n += 1) {
    statuses.push((await send('POST', '/conversations', { id: `c${n}`, metadata: large() })).status);
    await eventually(async () =>
      expect((await stored()).bytes).toBeGreaterThan(statuses.filter((s) => s === 201).length * 200_000),
    );
  }
  expect(statuses.slice(0, 3)).toEqual([201, 201, 201]);
  expect(statuses.at(-1)).toBe(400);
});

test('reserves the bytes of concurrent patches', async () => {
  await limit({});
  for (let n = 0; n < 6; n += 1) await send('POST', '/conversations', { id: `c${n}` });
  const { bytes } = await stored();
  await limit({ stored_bytes: bytes + 600_000 });
  const patches = Array.from({ length: 6 }, (_, n) => send('PATCH', `/conversations/c${n}`, { metadata: large() }));
  const statuses = (await Promise.all(patches)).map(({ status }) => status);
  expect(statuses.filter((status) => status === 200).length).toBeLessThanOrEqual(3);
});

test('reserves the bytes of the messages of concurrent turns', async () => {
  await limit({ stored_bytes: 1_000_000 });
  const turn = (id: string) =>
    send('POST', '/messages', { ...ASK, conversation: id, messages: [{ role: 'user', content: 'x'.repeat(400_000) }] });
  const statuses = (await Promise.all(['a', 'b', 'c', 'd'].map(turn))).map(({ status }) => status);
  expect(statuses.filter((status) => status === 200).length).toBeLessThanOrEqual(2);
  expect(statuses).toContain(200);
  const huge = { ...ASK, conversation: 'e', messages: [{ role: 'user', content: 'x'.repeat(2_000_000) }] };
  expect((await send('POST', '/messages', huge)).status).toBe(400);
});

test('releases the bytes of a failed request', async () => {
  await limit({ conversations: 2, stored_bytes: 5_000_000 });
  expect((await send('POST', '/conversations', { id: 'one' })).status).toBe(201);
  for (let n = 0; n < 3; n += 1) expect((await send('POST', '/conversations/nope/fork', {})).status).toBe(404);
  expect((await send('POST', '/conversations', { id: 'one', system: 'x'.repeat(4_500_000) })).status).toBe(409);
  await app.waitUntilSettled();
  expect((await send('POST', '/conversations', { id: 'two', system: 'x'.repeat(200_000) })).status).toBe(201);
});
