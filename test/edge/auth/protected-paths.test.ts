import fc from 'fast-check';
import { Hono } from 'hono';
import { expect, test } from 'vitest';
import { type AppOptions, createApp } from '#edge/app.ts';
import type { AppEnv } from '#edge/auth/context.ts';
import { mintToken } from '#edge/auth/mint.ts';
import { createTestApp } from '#test/support/app.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';
import { bearerHeader, createToken, DEPLOYED_VARS, SECRET } from '#test/support/tokens.ts';

const MESSAGE = { type: 'message', model: 'claude-haiku-5-5', content: [], usage: { input_tokens: 1 } };
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

/** The whole list of what a stranger may ask. */
const OPEN = new Set([
  'GET /health',
  'HEAD /health',
  'GET /openapi.json',
  'HEAD /openapi.json',
  'POST /webhooks/x',
  'POST /tokens/visitor',
]);

const ROUTES = createApp().routes.map(({ path }) => path.replaceAll(/:\w+/g, 'x').replaceAll('*', 'any'));

/** The edge with routes of a Worker's own, under a path of another app. */
function edgeWith(options: AppOptions, add: (edge: Hono<AppEnv>) => void = () => {}, at = '/ai') {
  return createTestApp(() => Response.json(MESSAGE), DEPLOYED_VARS, {
    options,
    around: (edge) => {
      add(edge);
      return new Hono<AppEnv>().route(at, edge).get(`${at === '/' ? '' : at}/behind`, (c) => c.text('behind'));
    },
  });
}

test('returns 401, 404 or 405 without a credential on every route except the public ones', async () => {
  const app = createTestApp(() => Response.json(MESSAGE), DEPLOYED_VARS);
  const request = fc.record({
    path: fc.constantFrom(...ROUTES),
    method: fc.constantFrom(...METHODS),
    // Spellings that a router and a list of paths may read in different ways.
    spelling: fc.constantFrom(
      (path: string) => path,
      (path: string) => path.replace('/', '//'),
      (path: string) => `${path}/`,
      (path: string) => path.toUpperCase(),
      (path: string) => path.replace(/[a-z]/, (letter) => `%${letter.charCodeAt(0).toString(16)}`),
      (path: string) => path.replaceAll('x', '%2e%2e'),
      (path: string) => path.replaceAll('x', 'a%2fevents'),
      (path: string) => `${path}?a=/health`,
      (path: string) => `${path};/health`,
    ),
  });
  let refused = 0;
  await tryAsyncCases(5_000, request, async ({ path, method, spelling }) => {
    const to = spelling(path);
    const response = await app.fetch(to, { method });
    if (response.status === 401) refused += 1;
    // A path that has no route, or not by this method, is nothing that could be guarded.
    else if (!OPEN.has(`${method} ${decodeURIComponent(new URL(to, 'http://x').pathname)}`)) {
      expect([404, 405], `${method} ${to}`).toContain(response.status);
    }
  });
  expect(refused).toBeGreaterThan(100);
  expect(app.sent).toEqual([]);
});

test('returns 401 without a credential on every route that is not public, for HEAD as for GET', async () => {
  const app = createTestApp(() => Response.json(MESSAGE), DEPLOYED_VARS);
  for (const { method, path } of createApp().routes) {
    const url = path.replaceAll(/:\w+/g, 'x');
    if (method === 'ALL' || OPEN.has(`${method} ${url}`)) continue;
    for (const how of method === 'GET' ? ['GET', 'HEAD'] : [method]) {
      expect((await app.fetch(url, { method: how })).status, `${how} ${url}`).toBe(401);
    }
  }
});

test('requires a credential on routes that a Worker adds, and passes them the caller’s identity', async () => {
  for (const at of ['/', '/ai', '/t/:tenant']) {
    const reached = at === '/' ? '' : at.replace(':tenant', 'acme');
    const add = (edge: Hono<AppEnv>) => {
      edge.get('/notes/:id', (c) => c.json(c.get('identity').account));
      edge.all('/proxy/*', (c) => c.json(c.get('identity').account));
    };
    const app = edgeWith({}, add, at);
    for (const path of ['/notes/7', '/proxy/a/b', '/proxy/', '/proxy']) {
      expect((await app.fetch(reached + path)).status, path).toBe(401);
      expect((await app.fetch(reached + path, { method: 'HEAD' })).status, path).toBe(401);
      const known = await app.fetch(reached + path, { headers: bearerHeader(await createToken('alice')) });
      expect(await known.json(), path).toBe('alice');
    }
    // What stands behind it in another app is that app's.
    expect(await (await app.fetch(`${reached}/behind`)).text()).toBe('behind');
  }
});

test('opens a Worker’s routes in `publicPaths`, but none of Sluice’s paths', async () => {
  const app = edgeWith({ publicPaths: ['/status', '/usage', '/v1/*', '/accounts/*'] }, (edge) => {
    edge.get('/status', (c) => c.text('up'));
    edge.get('/status/inside', (c) => c.text('closed'));
    edge.get('/v1/extra', (c) => c.text('closed'));
    edge.get('/accounts/x/extra', (c) => c.text('closed'));
  });
  const status = async (path: string) => (await app.fetch(`/ai${path}`)).status;
  expect(await status('/status')).toBe(200);
  for (const path of [
    '/usage',
    '/accounts',
    '/accounts/x',
    '/accounts/x/extra',
    '/v1/models',
    '/v1/extra',
    '/status/inside',
  ]) {
    expect(await status(path), path).toBe(401);
  }
});

test('returns 401 without a credential under Sluice’s paths for another app’s routes and unsupported methods', async () => {
  const app = createTestApp(() => Response.json(MESSAGE), DEPLOYED_VARS, {
    around: (edge) => new Hono<AppEnv>().route('/', edge).get('/accounts/x/photos', (c) => c.text('photos')),
  });
  for (const [path, method] of [
    ['/accounts/x/photos', 'GET'],
    ['/messages', 'GET'],
    ['/usage', 'DELETE'],
    ['/v1/of/the/future', 'POST'],
  ] as const) {
    expect((await app.fetch(path, { method })).status, path).toBe(401);
  }
});

test('requires a credential on another app’s routes in `privatePaths`', async () => {
  const app = edgeWith({ privatePaths: ['/behind'] });
  expect((await app.fetch('/ai/behind')).status).toBe(401);
  const known = await app.fetch('/ai/behind', { headers: bearerHeader(await createToken('alice')) });
  expect(await known.text()).toBe('behind');
});

test('rejects a revoked token on a Worker’s routes, on private paths, and before validating the request', async () => {
  const app = edgeWith({ privatePaths: ['/behind'] }, (edge) => {
    edge.get('/notes/:id', (c) => c.text('a note'));
  });
  const { token, jti } = await mintToken(SECRET, { account: 'alice', scopes: ['messages'] });
  const asked = async () => [
    (await app.fetch('/ai/notes/7', { headers: bearerHeader(token) })).status,
    (await app.fetch('/ai/behind', { headers: bearerHeader(token) })).status,
    (await app.fetch('/ai/v1/skills', { headers: bearerHeader(token) })).status,
    (
      await app.post(
        '/ai/messages',
        { prefix: 'unknown', messages: [{ role: 'user', content: 'Hi' }] },
        bearerHeader(token),
      )
    ).status,
    (await app.post('/ai/messages', 'no JSON', bearerHeader(token))).status,
    (await app.post('/ai/count-tokens', {}, bearerHeader(token))).status,
  ];
  expect(await asked()).toEqual([200, 200, 501, 404, 400, 400]);
  const admin = bearerHeader(await createToken('root', ['admin']));
  await app.fetch(`/ai/accounts/alice/tokens/${jti}`, { method: 'DELETE', headers: admin });
  expect(await asked()).toEqual([401, 401, 401, 401, 401, 401]);
});
