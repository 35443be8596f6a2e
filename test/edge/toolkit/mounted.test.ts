import fc from 'fast-check';
import { Hono } from 'hono';
import { expect, test } from 'vitest';
import { createApp } from '#edge/app.ts';
import type { AppEnv } from '#edge/auth/context.ts';
import { createTestApp, readError, type TestApp } from '#test/support/app.ts';
import { installSimulator } from '#test/support/conversations.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { parseEvents } from '#test/support/turns.ts';

const MESSAGE = {
  type: 'message',
  model: 'claude-haiku-5-5',
  content: [],
  usage: { input_tokens: 1, output_tokens: 1 },
};
const ASK = { model: 'claude-haiku-5-5', max_tokens: 10, messages: [{ role: 'user', content: 'Hi' }] };
const ORIGIN = 'https://app.example.com';
const VARS = { ...DEPLOYED_VARS, ALLOWED_ORIGINS: ORIGIN };
const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD'];

const answer = () => Response.json(MESSAGE);
const under = (path: string) => (edge: Hono<AppEnv>) => new Hono<AppEnv>().route(path, edge);

/** Every path that the app has, with a name in each place, and some that it has not. */
const PATHS = [
  ...new Set(createApp().routes.map(({ path }) => path.replaceAll(/:\w+/g, 'x').replaceAll('*', 'nothing'))),
  '/nope',
  '/v1/files',
  '/conversations/x/nope',
  '/messages/',
  '//messages',
];

/** What a caller sees of an answer, without what is new in each. */
async function seen(response: Response, path: string) {
  const { 'sluice-request-id': id, 'request-id': _, ...headers } = Object.fromEntries(response.headers);
  const text = await response.text();
  return {
    status: response.status,
    headers,
    text: text
      .replaceAll(id ?? '', 'ID')
      .replaceAll(/"resets_at":"[^"]*"/g, '')
      // What an isolate has counted counts the other request, too.
      .replaceAll(/sluice_isolate_.*/g, '')
      // The OpenAPI document contains the path at which the edge is mounted.
      .replace(/(?<="servers":\[\{"url":)"[^"]*"/, '""')
      .replaceAll(path, ''),
  };
}

test('each request gets the same response under any path of another app', async () => {
  const alone = createTestApp(answer, VARS);
  const apps = new Map<string, TestApp>();
  const token = await createToken('alice', ['admin']);
  const requests = fc.record({
    path: fc.constantFrom('/ai', '/a/b', '/t/:tenant', '/'),
    to: fc.constantFrom(...PATHS),
    method: fc.constantFrom(...METHODS),
    headers: fc.constantFrom(
      {},
      { origin: ORIGIN },
      { origin: 'https://evil.example' },
      bearerHeader(token),
      bearerHeader('eyJ.a.b'),
    ),
  });
  await tryAsyncCases(caseCount(400), requests, async ({ path, to, method, headers }) => {
    const mounted = apps.get(path) ?? createTestApp(answer, VARS, { around: under(path) });
    apps.set(path, mounted);
    const reached = path === '/' ? '' : path.replace(':tenant', 'acme');
    const preflight = method === 'OPTIONS' ? { 'access-control-request-method': 'POST' } : {};
    const init = { method, headers: { ...headers, ...preflight } };
    const [expected, got] = [await alone.fetch(to, init), await mounted.fetch(`${reached}${to}`, init)];
    expect(await seen(got, reached)).toEqual(await seen(expected, ''));
  });
  for (const app of [alone, ...apps.values()]) await app.waitUntilSettled();
});

test('under a mount path, a wrong method gets a 405, an unknown route a 404, and an unsupported route a 501', async () => {
  const app = createTestApp(answer, VARS, { around: under('/ai') });
  const headers = bearerHeader(await createToken('alice'));
  const wrong = await app.fetch('/ai/messages', { headers });
  expect(wrong.headers.get('allow')).toBe('POST');
  expect([wrong.status, (await readError(wrong)).type]).toEqual([405, 'invalid_request_error']);
  const nothing = await app.fetch('/ai/nope');
  expect([nothing.status, (await readError(nothing)).message]).toEqual([
    404,
    '/ai/nope does not exist. Check the path and the method; /docs lists all routes.',
  ]);
  const skills = await app.fetch('/ai/v1/skills', { headers });
  expect([skills.status, (await readError(skills)).type]).toEqual([501, 'not_supported']);
  expect((await app.fetch('/ai/v1/skills')).status).toBe(401);
  // What is not under the path is the other app's.
  const outside = await app.fetch('/messages', { headers });
  expect([outside.status, await outside.text()]).toEqual([404, '404 Not Found']);
});

test('a catch-all route of the Worker hides no response of Sluice, and Worker routes in the mount path work', async () => {
  const app = createTestApp(answer, VARS, {
    around: (edge) =>
      new Hono<AppEnv>()
        .route('/t/:tenant', edge)
        .get('/t/:tenant/extra', (c) => c.text(`extra of ${c.req.param('tenant')}`))
        .get('*', (c) => c.text('the page')),
  });
  const headers = bearerHeader(await createToken('alice'));
  const told = async (path: string) => {
    const response = await app.fetch(path, { headers });
    return [response.status, (await response.text()).slice(0, 16)];
  };
  expect(await told('/t/acme/extra')).toEqual([200, 'extra of acme']);
  expect(await told('/t/acme/messages')).toEqual([405, '{"type":"error",']);
  expect(await told('/t/acme/nope')).toEqual([404, '{"type":"error",']);
  expect(await told('/else')).toEqual([200, 'the page']);
});

test('the location header and the error that names it include the mount path', async () => {
  installSimulator({ SIMULATOR_TTFT_MS: '1500' });
  const app = createTestApp(answer, { MODE: 'development' }, { around: under('/deep/ai') });
  const ask = () => app.post('/deep/ai/messages', { ...ASK, conversation: 'c1' });
  const first = await ask();
  const second = await ask();
  expect(second.status).toBe(409);
  const location = second.headers.get('location') ?? '';
  expect(location).toBe('/deep/ai/conversations/c1/stream');
  expect((await readError(second)).message).toContain(`GET ${location},`);
  const followed = await app.fetch(location);
  expect(followed.headers.get('sluice-turn')).toBe(first.headers.get('sluice-turn'));
  expect(parseEvents(await followed.text())).toEqual(parseEvents(await first.text()));
  const stale = await app.fetch(location, { headers: { 'last-event-id': 'turn_longgone-3' } });
  expect([stale.status, stale.headers.get('location')]).toEqual([410, '/deep/ai/conversations/c1/messages']);
  expect((await app.fetch('/deep/ai/conversations/c1/messages')).status).toBe(200);
  await app.waitUntilSettled();
});

test('a Worker can add its routes and middleware before and after Sluice', async () => {
  const app = createTestApp(answer, VARS, {
    options: { publicPaths: ['/broken'] },
    around: (edge) => {
      edge.get('/notes/:id', (c) => c.json({ id: c.req.param('id'), account: c.get('identity').account }));
      edge.get('/broken', () => {
        throw new Error('a secret of the Worker');
      });
      return new Hono<AppEnv>()
        .use(async (c, next) => {
          if (c.req.query('blocked') !== undefined) return c.text('blocked', 418);
          await next();
          c.header('x-own', 'before');
        })
        .get('/health', (c) => c.text('the Worker’s own'))
        .route('/', edge)
        .get('/behind', (c) => c.text('behind'))
        .post('/messages/own', (c) => c.text('own'));
    },
  });
  const own = async (path: string, init?: RequestInit) => {
    const response = await app.fetch(path, init);
    return [response.status, response.headers.get('x-own'), await response.text()];
  };
  const headers = bearerHeader(await createToken('alice'));
  expect(await own('/health')).toEqual([200, 'before', 'the Worker’s own']);
  expect(await own('/behind')).toEqual([200, 'before', 'behind']);
  expect(await own('/messages/own', { method: 'POST' })).toEqual([200, 'before', 'own']);
  expect(await own('/messages?blocked', { method: 'POST' })).toEqual([418, null, 'blocked']);
  expect(await own('/notes/7', { headers })).toEqual([200, 'before', '{"id":"7","account":"alice"}']);
  expect((await own('/notes/7'))[0]).toBe(401);
  const broken = await app.fetch('/broken');
  expect(broken.status).toBe(500);
  expect((await readError(broken)).message).not.toContain('secret');
  const answered = await app.post('/messages', { ...ASK, stream: false }, headers);
  expect([answered.status, answered.headers.get('x-own')]).toEqual([200, 'before']);
  expect(await answered.json()).toEqual(MESSAGE);
  await app.waitUntilSettled();
  expect(app.log.at(-1)).toMatchObject({ account: 'alice', status: 200 });
});

test('the OpenAPI document names the path at which the edge is mounted', async () => {
  const document = { servers: [{ url: '/' }], tags: [], paths: {}, components: { schemas: {} } };
  const vars = { ...VARS, ASSETS: { fetch: async () => Response.json(document) } };
  for (const [path, url] of [
    ['/', '/'],
    ['/ai', '/ai'],
  ] as const) {
    const app = createTestApp(answer, vars, { around: under(path) });
    const response = await app.fetch(`${path === '/' ? '' : path}/openapi.json`);
    expect(await response.json()).toMatchObject({ servers: [{ url }] });
  }
});
