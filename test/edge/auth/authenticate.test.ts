import { env } from 'cloudflare:workers';
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { SCOPES } from '#edge/auth/identity/identity.ts';
import { mintToken } from '#edge/auth/mint.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { createTestApp, readError } from '#test/support/app.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { ROUTES, scopesOf } from '#test/support/routes.ts';
import { SMALL_MESSAGE } from '#test/support/small-message.ts';
import { bearerHeader, createToken, DEPLOYED_VARS, SECRET } from '#test/support/tokens.ts';

const bindings = env as unknown as Bindings;
const ASK = { model: 'claude-haiku-5-5', max_tokens: 10, stream: false, messages: [{ role: 'user', content: 'Hi' }] };

const answering = (vars: Record<string, unknown> = {}) =>
  createTestApp(
    ({ url }) => {
      if (url.pathname.includes('models')) return Response.json({ data: [] });
      return Response.json(url.pathname.includes('count') ? { input_tokens: 1 } : SMALL_MESSAGE);
    },
    // Some routes are only there where accounts share a budget.
    { ...DEPLOYED_VARS, DEPLOYMENT_LIMITS: '{}', ...vars },
  );

const EMPTY_PROFILE = {
  createdAt: 1_795_168_800_000,
  title: null,
  metadata: null,
  model: null,
  maxTokens: null,
  prefix: null,
  agent: null,
  retentionSeconds: null,
  history: null,
  sentFrom: 0,
  cost: 0,
  inputTokens: 0,
  outputTokens: 0,
};
/** The lines of a conversation's backup. */
const LINES = `${JSON.stringify(['profile', EMPTY_PROFILE])}\n["end",null]\n`;
const BODIES: Readonly<Record<string, unknown>> = {
  'PUT /accounts/:id/limits': {},
  'PATCH /accounts/:id/limits': {},
  'PUT /accounts/:id/block': { reason: 'Scraping', message: 'This account is blocked.' },
  'POST /accounts/:id/credit': { usd: 1 },
  'PUT /groups/:id/limits': {},
  'PATCH /groups/:id/limits': {},
  'PUT /groups/:id/backup': { type: 'group_backup', id: 'x', limits: {}, spent: {} },
  'PATCH /pools/deployment/limits': {},
  'PUT /pools/deployment/backup': { type: 'deployment_backup', limits: {}, spent: {} },
  'PUT /accounts/:id/erasure': { erased_at: '2026-11-20T10:00:00Z' },
  'PUT /groups/:id/accounts/:account': {},
  'PUT /pools/deployment/limits': {},
  'PUT /accounts/:id/backup': {
    type: 'account_backup',
    id: 'alice',
    taken_at: 1_795_168_800_000,
    limits: null,
    block: null,
    group: null,
    revoked_before: 0,
    credits: [],
    tokens: [],
    days: [],
  },
  'POST /tokens': { account: 'bob', scopes: ['messages'] },
  'POST /conversations': {},
  'PATCH /conversations/:id': {},
  'POST /conversations/:id/rewind': { before: 'x' },
  'POST /conversations/:id/fork': {},
  'POST /conversations/:id/approvals/:approval': { decision: 'approve' },
  'PUT /agents/:name': { model: 'claude-haiku-5-5', max_tokens: 10 },
  'PUT /prefixes/:name': { system: 'Be brief.' },
  'PUT /classifiers/:name': { labels: ['a'] },
  'POST /classifiers/:name/evaluate': { examples: [{ input: 'x', label: 'a' }] },
  'POST /v1/messages/batches': { requests: [{ custom_id: 'x', params: ASK }] },
  'POST /classify': { inputs: [{ id: 'x', input: 'x' }], labels: ['a'] },
};
/** The body of a route that takes a form. */
const FORM = '--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\na\r\n--x--\r\n';
const requestTo = ({ method, path }: { method: string; path: string }, headers: Record<string, string>) =>
  method === 'GET' || method === 'DELETE'
    ? { method, headers }
    : path === '/v1/files'
      ? { method, headers: { 'content-type': 'multipart/form-data; boundary=x', ...headers }, body: FORM }
      : path.endsWith('/:conversation/backup')
        ? { method, headers: { 'content-type': 'application/jsonl', ...headers }, body: LINES }
        : {
            method,
            headers: { 'content-type': 'application/json', ...headers },
            body: JSON.stringify(BODIES[`${method} ${path}`] ?? ASK),
          };

/** The bindings with a note of everything that is asked of them. */
function watched() {
  const touched: string[] = [];
  const { ACCOUNT, STORE } = bindings;
  return {
    touched,
    ACCOUNT: {
      idFromName(name: string) {
        touched.push(`account ${name}`);
        return ACCOUNT.idFromName(name);
      },
      get: (id: DurableObjectId) => ACCOUNT.get(id),
    },
    STORE: {
      list: (options: KVNamespaceListOptions) => {
        touched.push('list');
        return STORE.list(options);
      },
      put: (key: string, value: string) => {
        touched.push(`put ${key}`);
        return STORE.put(key, value);
      },
      delete: (key: string) => {
        touched.push(`delete ${key}`);
        return STORE.delete(key);
      },
    },
  };
}

async function expectRefused(response: Response, status: 401 | 403 | 500): Promise<string> {
  const { type, message, request_id } = await readError(response);
  const types = { 401: 'authentication_error', 403: 'permission_error', 500: 'api_error' };
  expect({ status: response.status, type }).toEqual({ status, type: types[status] });
  expect(response.headers.get('x-should-retry')).toBe('false');
  expect(response.headers.get('content-type')).toMatch(/^application\/json/);
  expect(response.headers.get('sluice-request-id')).toBe(request_id);
  return message;
}

test('finds the routes that the other tests use', () => {
  expect(ROUTES.length).toBeGreaterThan(15);
  for (const path of ['/messages', '/v1/models/:id', '/accounts/:id/tokens/:jti', '/usage/requests/:request_id']) {
    expect(ROUTES.map((route) => route.path)).toContain(path);
  }
});

test('accepts a credential in the Authorization header or in x-api-key', async () => {
  const app = answering();
  const token = await createToken('alice');
  for (const headers of [
    bearerHeader(token),
    { authorization: `bearer  ${token}` },
    { authorization: `BEARER ${token}` },
    { 'x-api-key': token },
    { 'x-api-key': token, authorization: '' },
  ]) {
    expect((await app.post('/messages', ASK, headers)).status).toBe(200);
  }
  for (const authorization of [token, `Basic ${token}`, `Bearer ${token} x`, `Bearer ${token}, Bearer ${token}`]) {
    await expectRefused(await app.post('/messages', ASK, { authorization }), 401);
  }
  for (const { headers } of app.sent) {
    expect(headers.get('x-api-key')).not.toBe(token);
    expect(headers.has('authorization')).toBe(false);
  }
  expect(JSON.stringify(app.log)).not.toContain(token);
});

test('returns 401 for incomplete tokens, HTML and arbitrary bytes in place of a token', async () => {
  const app = answering();
  const [head = '', claims = '', signature = ''] = (await createToken('alice')).split('.');
  const parts = [
    head,
    claims,
    signature,
    btoa('{"alg":1}'),
    btoa('{"alg":"HS256","crit":["x"]}'),
    'eyJ',
    '',
    btoa('null'),
  ];
  const made = fc.array(fc.constantFrom(...parts), { maxLength: 4 }).map((some) => some.join('.'));
  const bytes = fc.string({ unit: fc.integer({ min: 32, max: 255 }).map((code) => String.fromCharCode(code)) });
  const given = fc.oneof(
    made,
    bytes,
    fc.constantFrom('<!doctype html><title>Log in</title>', '"token"', '{"token":"a"}'),
  );
  await tryAsyncCases(caseCount(100), given, fc.constantFrom('authorization', 'x-api-key'), async (text, name) => {
    fc.pre(text !== `${head}.${claims}.${signature}`);
    const headers = { [name]: name === 'authorization' ? `Bearer ${text}` : text };
    await expectRefused(await app.post('/messages', ASK, headers), 401);
  });
});

test('returns 401 for a credential that is too long, and reads the longest token', async () => {
  const app = answering();
  for (const text of ['x'.repeat(65_537), `${' '.repeat(65_536)}\u2028`, `eyJ${'a'.repeat(65_536)}.e.e`]) {
    for (const headers of [bearerHeader(text), { 'x-api-key': `.${text}` }]) {
      const message = await expectRefused(await app.post('/messages', ASK, headers), 401);
      expect(message).toMatch(/^(authorization|x-api-key): the credential has \d+ characters\. At most 65536/);
    }
  }
  const names = (count: number) => Array.from({ length: 64 }, (_, at) => `https://${at}.${'a'.repeat(count)}.example`);
  const mint = async (count: number) =>
    (await mintToken(SECRET, { account: 'alice', scopes: SCOPES, only: { agents: ['a'], origins: names(count) } }))
      .token;
  const longest = await mint(700);
  expect(longest.length).toBeGreaterThan(60_000);
  await expectRefused(await app.fetch('/usage', { headers: bearerHeader(longest) }), 403);
  await expect(mint(800)).rejects.toThrow(/^The token would have \d+ characters\. At most 65536/);
});

test('prefers the bearer token over x-api-key, and a valid token over an invalid credential', async () => {
  const app = answering();
  const account = async (headers: Record<string, string>) => {
    const response = await app.fetch('/usage/requests', { headers });
    await app.waitUntilSettled();
    return response.status === 200 ? app.log.at(-1)?.account : response.status;
  };
  const [alice, bob] = [await createToken('alice'), await createToken('bob')];
  expect(await account({ ...bearerHeader(alice), 'x-api-key': bob })).toBe('alice');
  expect(await account({ ...bearerHeader('sk-ant-of-some-config'), 'x-api-key': bob })).toBe('bob');
  expect(await account({ ...bearerHeader(alice), 'x-api-key': 'sk-ant-of-some-config' })).toBe('alice');
  const foreign = `${alice.slice(0, -8)}AAAAAAAA`;
  expect(await account({ ...bearerHeader(foreign), 'x-api-key': bob })).toBe('bob');
  expect(await account({ ...bearerHeader(alice), 'x-api-key': foreign })).toBe('alice');
  expect(await account({ ...bearerHeader(foreign), 'x-api-key': foreign })).toBe(401);
});

test('does not call an account or the store before it verifies the credential', async () => {
  const { touched, ...bound } = watched();
  const app = answering(bound);
  const bad = [
    {},
    bearerHeader('sk-ant-api03-anything'),
    bearerHeader(
      (await mintToken('a-secret-that-this-edge-does-not-have', { account: 'alice', scopes: SCOPES })).token,
    ),
    bearerHeader(await createToken('alice', SCOPES, { expiresIn: -1 })),
    { 'x-api-key': `${await createToken('alice', SCOPES)}x` },
    bearerHeader(await createToken('x'.repeat(129), SCOPES)),
  ];
  for (const route of ROUTES) {
    for (const headers of bad) await expectRefused(await app.fetch(route.url, requestTo(route, headers)), 401);
  }
  await app.waitUntilSettled();
  expect(touched).toEqual([]);
  expect(app.sent).toEqual([]);
  await app.fetch('/accounts/alice', { headers: bearerHeader(await createToken('alice')) });
  expect(touched).toContain('account alice');
});

test('returns 401 for every method of a path to a request without a credential', async () => {
  const app = answering();
  for (const { url } of ROUTES) {
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']) {
      await expectRefused(await app.fetch(url, { method }), 401);
    }
  }
});

const renewing = ({ path }: { path: string }) => (path === '/tokens/renew' ? [400] : []);
/** An admin cannot block the account of their own token. */
const blocking = ({ path }: { path: string }) => (path === '/accounts/:id/block' ? [400] : []);

test('returns 403 and names the missing scope; routes about the caller’s own account need no scope', async () => {
  const app = answering();
  for (const route of ROUTES) {
    // Erasing an account and revoking what it has are tried where they do not end the test.
    if (route.method === 'DELETE') continue;
    const scopes = scopesOf(route);
    const others = SCOPES.filter((name) => !scopes.includes(name) && name !== 'admin');
    const without = await app.fetch(route.url, requestTo(route, bearerHeader(await createToken('alice', others))));
    // A token without a session cannot be renewed.
    if (scopes.length === 0) expect([200, 404, ...renewing(route)], route.url).toContain(without.status);
    else expect(await expectRefused(without, 403), route.url).toContain(`\`${scopes[0]}\``);
    for (const enough of scopes) {
      const response = await app.fetch(route.url, requestTo(route, bearerHeader(await createToken('alice', [enough]))));
      // Others of this test have used the account before.
      const taken = route.path.endsWith('/backup') ? [409] : [];
      const accepted = [200, 201, 202, 404, ...taken, ...blocking(route)];
      expect(accepted, `${route.method} ${route.url} with ${enough}`).toContain(response.status);
    }
  }
  for (const url of ['/accounts/alice', '/accounts/alice/tokens', '/accounts/alice/tokens/x']) {
    await expectRefused(
      await app.fetch(url, {
        method: 'DELETE',
        headers: bearerHeader(await createToken('alice', ['messages', 'prefixes'])),
      }),
      403,
    );
  }
});

test('rejects a revoked token immediately, on every route and in every isolate', async () => {
  const app = answering();
  const admin = bearerHeader(await createToken('root', ['admin']));
  const { token, jti } = await mintToken(SECRET, { account: 'carol', scopes: SCOPES });
  expect((await app.post('/messages', ASK, bearerHeader(token))).status).toBe(200);
  const revoking = await app.fetch(`/accounts/carol/tokens/${jti}`, { method: 'DELETE', headers: admin });
  expect(await revoking.json()).toEqual({ account: 'carol', revoked: jti });
  const sent = app.sent.length;
  // Another isolate has settings of its own, and has remembered nothing.
  for (const isolate of [app, answering()]) {
    for (const route of ROUTES) {
      const url = route.url.replace('/accounts/alice', '/accounts/carol');
      const response = await isolate.fetch(url, requestTo(route, bearerHeader(token)));
      expect(await expectRefused(response, 401), `${route.method} ${url}`).toContain('revoked');
    }
  }
  expect(app.sent).toHaveLength(sent);
  const another = bearerHeader(await createToken('carol'));
  expect((await app.post('/messages', ASK, another)).status).toBe(200);
});

test('revokes a token that has never been used, and all tokens of an account', async () => {
  const app = answering();
  const admin = bearerHeader(await createToken('root', ['admin']));
  const mint = async (account: string) => await mintToken(SECRET, { account, scopes: ['messages'] });
  const [unseen, first, second] = [await mint('dave'), await mint('dave'), await mint('erin')];
  await app.fetch(`/accounts/dave/tokens/${unseen.jti}`, { method: 'DELETE', headers: admin });
  await expectRefused(await app.post('/messages', ASK, bearerHeader(unseen.token)), 401);
  expect((await app.post('/messages', ASK, bearerHeader(first.token))).status).toBe(200);
  const all = await app.fetch('/accounts/dave/tokens', { method: 'DELETE', headers: admin });
  expect(await all.json()).toEqual({ account: 'dave', revoked: 'all' });
  await expectRefused(await app.post('/messages', ASK, bearerHeader(first.token)), 401);
  expect((await app.post('/messages', ASK, bearerHeader(second.token))).status).toBe(200);
  const minted = await app.post('/tokens', { account: 'dave', scopes: ['messages'] }, admin);
  const { token } = (await minted.json()) as { token: string };
  expect((await app.post('/messages', ASK, bearerHeader(token))).status).toBe(200);
});

test('returns 500 and names SIGNING_SECRET and JWKS_URL on every route if neither is set', async () => {
  const { touched, ...bound } = watched();
  const app = answering({ ...bound, SIGNING_SECRET: '' });
  for (const headers of [{}, bearerHeader(await createToken('alice', SCOPES)), bearerHeader('sk-ant-x')]) {
    for (const route of ROUTES) {
      const message = await expectRefused(await app.fetch(route.url, requestTo(route, headers)), 500);
      expect(message).toContain('SIGNING_SECRET');
      expect(message).toContain('JWKS_URL');
    }
  }
  expect(touched).toEqual([]);
  expect(app.sent).toEqual([]);
});

test('serves public paths without a credential, with and without a signing secret', async () => {
  for (const vars of [{}, { SIGNING_SECRET: '' }]) {
    const app = answering(vars);
    expect((await app.fetch('/health')).status).toBe(200);
    // Not built yet, or built: never a question of credentials.
    for (const path of ['/', '/docs', '/openapi.json']) expect([200, 404]).toContain((await app.fetch(path)).status);
  }
});

test('with an identity provider but no SIGNING_SECRET, returns 401 for a minted token and 500 for POST /tokens', async () => {
  const provider = {
    JWKS_URL: 'https://login.example.com/keys',
    JWT_ISSUER: 'https://login.example.com/',
    JWT_AUDIENCE: 'sluice',
    DEFAULT_LIMITS: '{"usd_per_day":1}',
  };
  const app = answering({ ...provider, SIGNING_SECRET: '' });
  await expectRefused(await app.post('/messages', ASK, bearerHeader(await createToken('alice'))), 401);
  const minting = answering({ ...provider, SIGNING_SECRET: '', SIGNING_SECRET_PREVIOUS: SECRET });
  const admin = bearerHeader(await createToken('root', ['admin']));
  const refused = await minting.post('/tokens', { account: 'bob', scopes: ['messages'] }, admin);
  expect(await expectRefused(refused, 500)).toContain('SIGNING_SECRET');
});

test('accepts a minted token in x-api-key while the keys for the bearer token cannot be fetched', async () => {
  vi.spyOn(globalThis, 'fetch').mockRejectedValue(new Error('connection refused'));
  const app = answering({
    JWKS_URL: 'https://login.example.com/keys',
    DEFAULT_LIMITS: '{"usd_per_day":1}',
    JWT_ISSUER: 'https://i.example',
    JWT_AUDIENCE: 'x',
  });
  const foreign = bearerHeader(
    `${btoa('{"alg":"RS256","kid":"a"}')}.${btoa('{"sub":"eve"}')}.AAAA`.replaceAll('=', ''),
  );
  const usage = async (headers: Record<string, string>) => (await app.fetch('/usage/requests', { headers })).status;
  expect(await usage({ ...foreign, 'x-api-key': await createToken('bob') })).toBe(200);
  expect(await usage(foreign)).toBe(503);
});

test('returns 500 on every route if SIGNING_SECRET is malformed', async () => {
  const app = answering({ SIGNING_SECRET: 'too-short' });
  for (const route of [...ROUTES, { method: 'GET', path: '/health', url: '/health' }]) {
    const message = await expectRefused(await app.fetch(route.url, requestTo(route, {})), 500);
    expect(message).toContain('SIGNING_SECRET');
    expect(message).not.toContain('too-short');
  }
});

test('assigns requests in development without a token to the account dev', async () => {
  for (const secret of ['', SECRET]) {
    const app = answering({ MODE: 'development', SIGNING_SECRET: secret });
    for (const headers of [
      {},
      { 'x-api-key': 'sk-ant-api03-any' },
      bearerHeader('any'),
      { authorization: 'Basic eyJ' },
      { ...bearerHeader('k'), 'x-api-key': 'k' },
    ]) {
      for (const route of ROUTES) {
        if (route.method === 'DELETE' || route.path === '/tokens') continue;
        const response = await app.fetch(route.url, requestTo(route, headers));
        const taken = route.path.endsWith('/backup') ? [409] : [];
        expect([200, 201, 202, 404, ...taken, ...renewing(route)], `${route.method} ${route.url}`).toContain(
          response.status,
        );
        await response.body?.cancel();
      }
      await app.waitUntilSettled();
      expect(new Set(app.log.map(({ account }) => account))).toEqual(new Set(['dev']));
    }
  }
});

test('verifies a JWT in development as in production', async () => {
  const app = answering({ MODE: 'development' });
  expect((await app.post('/messages', ASK, bearerHeader(await createToken('frank')))).status).toBe(200);
  await app.waitUntilSettled();
  expect(app.log.at(-1)).toMatchObject({ account: 'frank' });
  const strange = await mintToken('a-secret-that-this-edge-does-not-have', { account: 'dev', scopes: SCOPES });
  await expectRefused(await app.post('/messages', ASK, bearerHeader(strange.token)), 401);
  await expectRefused(await app.post('/messages', ASK, bearerHeader(await createToken('dev', ['classify']))), 403);
  await expectRefused(
    await app.post('/messages', ASK, { 'x-api-key': await createToken('dev', SCOPES, { expiresIn: -1 }) }),
    401,
  );
  const { token, jti } = await mintToken(SECRET, { account: 'frank', scopes: ['messages'] });
  expect((await app.fetch(`/accounts/frank/tokens/${jti}`, { method: 'DELETE' })).status).toBe(200);
  await expectRefused(await app.post('/messages', ASK, bearerHeader(token)), 401);
});

test('rejects a malformed bearer token in development and suggests the placeholder `Bearer any`', async () => {
  const token = await createToken('frank');
  for (const sent of ['undefined', 'null', '', '[object Object]', `x${token}`, `${token}x`, 'sk-ant-api03-any']) {
    for (const more of [{}, { 'x-api-key': 'sk-ant-api03-any-other' }]) {
      const app = answering({ MODE: 'development' });
      const message = await expectRefused(await app.post('/messages', ASK, { ...bearerHeader(sent), ...more }), 401);
      if (!sent.startsWith('eyJ')) expect(message).toContain('`Bearer any`');
      if (sent !== '') expect(message).not.toContain(token);
      expect(app.sent).toEqual([]);
    }
  }
  const unset = await expectRefused(
    await answering({ MODE: 'development' }).fetch('/usage', { headers: bearerHeader('undefined') }),
    401,
  );
  expect(unset).toContain('the text `undefined`');
});

test('rejects a session in development that the Worker’s own `authenticate` does not know', async () => {
  const authenticate = (request: Request) =>
    request.headers.get('authorization') === 'Bearer session-of-ada'
      ? ({ account: 'ada', scopes: ['messages'] } as const)
      : undefined;
  const app = createTestApp(
    () => Response.json(SMALL_MESSAGE),
    { SIGNING_SECRET: SECRET },
    { options: { authenticate } },
  );
  expect((await app.post('/messages', ASK, bearerHeader('session-of-ada'))).status).toBe(200);
  await expectRefused(await app.post('/messages', ASK, bearerHeader('session-of-eve')), 401);
});

test('checks credentials and origins in development when CREDENTIALS is `required`', async () => {
  const app = answering({ MODE: 'development', CREDENTIALS: 'required', ALLOWED_ORIGINS: 'https://app.example.com' });
  for (const headers of [{}, bearerHeader('any'), { 'x-api-key': 'any' }])
    await expectRefused(await app.post('/messages', ASK, headers), 401);
  const token = bearerHeader(await createToken('frank'));
  for (const [origin, allowed] of [
    ['https://app.example.com', 'https://app.example.com'],
    ['http://localhost:3000', null],
  ] as const) {
    const response = await app.post('/messages', ASK, { ...token, origin });
    expect([response.status, response.headers.get('access-control-allow-origin')]).toEqual([200, allowed]);
    await response.text();
  }
  await expectRefused(await app.post('https://edge.example.com/messages', ASK, token), 403);
  const mint = async (origins: string[]) => {
    const only = { agents: ['desk'], origins };
    const admin = bearerHeader(await createToken('root', ['admin']));
    return (await app.post('/tokens', { account: 'ada', scopes: ['messages'], only }, admin)).status;
  };
  expect(await mint(['https://app.example.com'])).toBe(201);
  expect(await mint(['http://localhost:3000'])).toBe(400);
});

const AT_HOME = 'http://localhost:8787/messages';
const FOREIGN_HOSTS = [
  'https://edge.example.com',
  'http://localhost.example.com',
  'http://127.0.0.1.evil.com',
  'http://evil.com:8787',
  'http://evil-localhost',
  'http://10.0.0.1:8787',
  'http://192.168.1.10:8787',
  'http://0.0.0.0:8787',
  'http://[::2]:8787',
  'http://128.0.0.1',
];
const FOREIGN_ORIGINS = [
  '',
  'null',
  'file://',
  'localhost',
  'https://app.example.com',
  'https://evil.com',
  'http://evil.com:8787',
  'http://localhost.evil.com',
  'http://127.0.0.1.evil.com',
  'http://localhost@evil.com',
  'http://192.168.1.10',
  'http://[::2]',
  'http://localhost, https://evil.com',
];

test('rejects every host or origin that is not loopback in development, regardless of ALLOWED_ORIGINS', async () => {
  const { touched, ...bound } = watched();
  const app = answering({ ...bound, MODE: 'development', ALLOWED_ORIGINS: 'https://app.example.com,*' });
  for (const [url, headers] of [
    ...FOREIGN_HOSTS.map((host) => [`${host}/messages`, {}] as const),
    ...FOREIGN_ORIGINS.map((origin) => [AT_HOME, { origin }] as const),
    ['https://edge.example.com/messages', { origin: 'http://localhost:3000' }] as const,
  ]) {
    await expectRefused(await app.post(url, ASK, { ...headers, ...bearerHeader(await createToken('a')) }), 403);
    for (const method of ['OPTIONS', 'GET', 'POST']) {
      const response = await app.fetch(url, { method, headers });
      expect(response.status, `${method} ${url} ${JSON.stringify(headers)}`).toBe(403);
      expect(response.headers.has('access-control-allow-origin')).toBe(false);
      await response.text();
    }
  }
  expect((await app.fetch('https://edge.example.com/health')).status).toBe(403);
  expect(touched).toEqual([]);
  expect(app.sent).toEqual([]);
});

test.each([
  ['http://127.0.0.1:8787/messages', 'http://localhost:3000'],
  ['http://[::1]:8787/messages', 'http://127.0.0.1:5173'],
  ['http://app.localhost:8787/messages', 'http://[::1]:8080'],
  [AT_HOME, 'https://localhost'],
  [AT_HOME, 'http://app.localhost'],
])('in development, %s allows the origin %s in preflights, responses and errors', async (url, origin) => {
  const app = answering({ MODE: 'development', ALLOWED_ORIGINS: 'https://app.example.com,*' });
  const asked = {
    'access-control-request-method': 'POST',
    'access-control-request-headers': 'x-of-the-future,x-api-key',
  };
  // A page at localhost that calls 127.0.0.1 is of another site.
  const page = { origin, 'sec-fetch-site': 'cross-site' };
  const preflight = await app.fetch(url, { method: 'OPTIONS', headers: { ...page, ...asked } });
  expect(preflight.status).toBe(204);
  expect(preflight.headers.get('access-control-allow-origin')).toBe(origin);
  expect(preflight.headers.get('access-control-allow-headers')?.split(',')).toContain('x-of-the-future');
  expect(preflight.headers.get('access-control-allow-methods')).toContain('POST');
  for (const [body, status] of [
    [ASK, 200],
    ['{', 400],
  ] as const) {
    const response = await app.post(url, body, page);
    expect(response.status).toBe(status);
    expect(response.headers.get('access-control-allow-origin')).toBe(origin);
    const exposed = response.headers.get('access-control-expose-headers')?.split(',') ?? [];
    expect(exposed).toEqual(
      expect.arrayContaining(['request-id', 'retry-after', 'sluice-request-id', 'sluice-history']),
    );
    expect(response.headers.get('vary')?.toLowerCase()).toContain('origin');
    await response.text();
  }
  expect(app.sent).toHaveLength(1);
  expect(app.sent[0]?.headers.has('origin')).toBe(false);
});

describe('a page that reaches a development server through DNS rebinding', () => {
  /** Its GET has neither header, as a browser tells both to pages of this machine alone. */
  const REBOUND = { 'sec-fetch-site': '' };
  const READS = ROUTES.filter(({ method, path }) => method === 'GET' && !/^(\/v1)?\/models/.test(path));

  test('cannot read stored data once an upstream key is set, and receives instructions to create a token', async () => {
    const { touched, ...bound } = watched();
    for (const key of [{ ANTHROPIC_API_KEY: 'sk-ant-x' }, { ANTHROPIC_API_KEY: '', UPSTREAM_EAST_KEY: 'sk-ant-x' }]) {
      const app = answering({ ...bound, ...key, MODE: 'development', UPSTREAM: '' });
      expect(READS.length).toBeGreaterThan(20);
      for (const { url } of READS) {
        for (const headers of [REBOUND, { 'sec-fetch-site': 'cross-site' }, { ...REBOUND, 'x-api-key': 'any' }]) {
          const message = await expectRefused(await app.fetch(url, { headers }), 401);
          expect(message).toContain('npm run token -- --account dev --scopes admin');
        }
        expect((await app.fetch(url, { method: 'HEAD', headers: REBOUND })).status).toBe(401);
      }
    }
    expect(touched).toEqual([]);
  });

  test('is distinguished from local browsers, local pages and callers with a token, which can still read', async () => {
    const app = answering({ MODE: 'development' });
    const own = [
      ...['same-origin', 'same-site', 'none'].map((site) => ({ 'sec-fetch-site': site })),
      { origin: 'http://localhost:3000', 'sec-fetch-site': 'cross-site' },
      { ...REBOUND, ...bearerHeader(await createToken('dev', ['admin'])) },
    ];
    for (const headers of own)
      expect((await app.fetch('/usage', { headers })).status, JSON.stringify(headers)).toBe(200);
  });

  test('can read models and health, and the simulator’s data while no upstream key is set', async () => {
    const keyed = answering({ MODE: 'development' });
    for (const path of ['/v1/models', '/models', '/health']) {
      expect((await keyed.fetch(path, { headers: REBOUND })).status, path).toBe(200);
    }
    const simulated = answering({ MODE: 'development', ANTHROPIC_API_KEY: '', UPSTREAM: 'simulator' });
    expect((await simulated.fetch('/usage', { headers: REBOUND })).status).toBe(200);
    // A conversation of that name is none of the routes that are open.
    await expectRefused(await keyed.fetch('/conversations/models', { headers: REBOUND }), 401);
  });

  test('cannot send messages, because a POST includes the page’s origin', async () => {
    const app = answering({ MODE: 'development' });
    await expectRefused(await app.post('/messages', ASK, { origin: 'http://evil.example:8787' }), 403);
    expect(app.sent).toEqual([]);
    // A program on this machine has none.
    expect((await app.post('/messages', ASK)).status).toBe(200);
  });
});

test.each([
  [{}, /^This request has no credential/],
  [{ authorization: 'eyJhbGciOiJIUzI1NiJ9.e30.x' }, /^Authorization: must have the form `Bearer TOKEN`/],
  [{ authorization: 'Bearer ' }, /^Authorization: must have the form `Bearer TOKEN`/],
  [{ authorization: 'Bearer undefined' }, /the text `undefined`, so your code has no token/],
  [{ authorization: 'Bearer null' }, /the text `null`/],
  [{ authorization: 'Bearer [object Promise]' }, /the text `\[object Promise\]`/],
  [{ 'x-api-key': 'sk-ant-x' }, /^This is not a token of this deployment/],
])('explains in production why the credential in %j is rejected', async (headers, message) => {
  expect(await expectRefused(await answering({}).post('/messages', ASK, headers), 401)).toMatch(message);
});

test('rejects a loopback origin without Sec-Fetch-Site on every route and method in development', async () => {
  // `wrangler dev --local-upstream localhost:80` makes this of the origin of a page under a rebound name.
  const rewritten = { origin: 'http://localhost', 'sec-fetch-site': '' };
  const { touched, ...bound } = watched();
  const app = answering({ ...bound, MODE: 'development' });
  const token = bearerHeader(await createToken('dev', ['admin']));
  for (const { method, url } of ROUTES) {
    for (const one of [method, 'OPTIONS', 'HEAD']) {
      const response = await app.fetch(url, { method: one, headers: { ...rewritten, ...token } });
      expect(response.status, `${one} ${url}`).toBe(403);
      expect(response.headers.has('access-control-allow-origin')).toBe(false);
      const text = await response.text();
      if (one !== 'HEAD') expect(text).toMatch(/Sec-Fetch-Site.*Safari 16\.4 or newer/);
    }
  }
  expect((await app.post('/messages', ASK, rewritten)).status).toBe(403);
  expect([touched, app.sent]).toEqual([[], []]);
});

test('allows only configured origins in production, also on a 401', async () => {
  const app = answering({ ALLOWED_ORIGINS: 'https://app.example.com' });
  for (const [origin, allowed] of [
    ['https://app.example.com', 'https://app.example.com'],
    ['http://localhost:3000', null],
    ['https://evil.example.com', null],
  ] as const) {
    const response = await app.post('/messages', ASK, { origin });
    await expectRefused(response, 401);
    expect(response.headers.get('access-control-allow-origin')).toBe(allowed);
  }
});
