/** Every route with every kind of credential. By day `authenticate`, `verify` and `restricted-routes` have one of each kind. */
import { SignJWT } from 'jose';
import { expect, test } from 'vitest';
import { SCOPES, type Scope } from '#edge/auth/identity/identity.ts';
import { mintToken } from '#edge/auth/mint.ts';
import { createTestApp, type TestApp } from '#test/support/app.ts';
import { advanceClock, stopClock } from '#test/support/calendar.ts';
import { type AppRoute, OPEN_TO_RESTRICTED, OPEN_WITH_APPROVALS, ROUTES, scopesOf } from '#test/support/routes.ts';
import { SMALL_MESSAGE } from '#test/support/small-message.ts';
import { bearerHeader, createToken, DEPLOYED_VARS, SECRET } from '#test/support/tokens.ts';

const encoder = new TextEncoder();
const edge = () =>
  createTestApp(
    ({ url }) => {
      if (url.pathname.includes('models')) return Response.json({ data: [] });
      return Response.json(url.pathname.includes('count') ? { input_tokens: 1 } : SMALL_MESSAGE);
    },
    { ...DEPLOYED_VARS, DEPLOYMENT_LIMITS: '{}' },
  );
/** So long after another, no request exceeds `reads_per_minute`. */
const APART_MS = 2_000;

/** Sends a small body, where the method has one. */
async function sendNow(app: TestApp, { method, url }: AppRoute, headers: Record<string, string>, body: unknown = {}) {
  const isRead = method === 'GET' || method === 'DELETE';
  const sent = isRead ? {} : { body: JSON.stringify(body) };
  const response = await app.fetch(url, {
    method,
    headers: { ...(!isRead && { 'content-type': 'application/json' }), ...headers },
    ...sent,
  });
  return { status: response.status, text: await response.text() };
}

/** Sends as `sendNow`, in time that no rate has used up. */
async function send(...sent: Parameters<typeof sendNow>) {
  advanceClock(APART_MS);
  return await sendNow(...sent);
}

/** @returns all sets of scopes, the empty one included */
function scopeSets(): Scope[][] {
  return Array.from({ length: 2 ** SCOPES.length }, (_, set) => SCOPES.filter((_, nth) => (set >> nth) % 2 === 1));
}

/** @returns credentials that are not valid, by what is wrong with them */
async function invalidTokens(app: TestApp): Promise<Record<string, string>> {
  const second = Math.floor(Date.now() / 1_000);
  const claims = { sub: 'alice', scope: SCOPES.join(' '), jti: 'one', iat: second - 60, exp: second + 600 };
  const sign = async (changed: Record<string, unknown>, { secret = SECRET, alg = 'HS256' } = {}) =>
    await new SignJWT(JSON.parse(JSON.stringify({ ...claims, ...changed })))
      .setProtectedHeader({ alg })
      .sign(encoder.encode(secret));
  const admin = bearerHeader(await createToken('root', ['admin']));
  const revoked = await mintToken(SECRET, { account: 'carol', scopes: SCOPES });
  const [revokedWithAll, ahead] = [
    await createToken('dave', SCOPES),
    await sign({ sub: 'dave', jti: 'ahead', iat: second + 5 }),
  ];
  for (const path of [`/accounts/carol/tokens/${revoked.jti}`, '/accounts/dave/tokens'])
    expect((await app.fetch(path, { method: 'DELETE', headers: admin })).status).toBe(200);
  const valid = await sign({});
  const [header = '', , signature = ''] = valid.split('.');
  const [, otherClaims = ''] = (await sign({ sub: 'root' })).split('.');
  const none = btoa('{"alg":"none"}').replaceAll('=', '');
  return {
    'of another secret': await sign({}, { secret: 'another-secret-that-has-32-characters' }),
    'by another algorithm': await sign({}, { secret: SECRET.repeat(2), alg: 'HS512' }),
    'without a signature': `${none}.${otherClaims}.`,
    'with the claims of another': `${header}.${otherClaims}.${signature}`,
    'without its last character': valid.slice(0, -1),
    'that has ended': await sign({ exp: second - 1 }),
    'that is not valid yet': await sign({ nbf: second + 600 }),
    'that is dated too far ahead': await sign({ iat: second + 60 }),
    'of no account': await sign({ sub: undefined }),
    'of an empty account': await sign({ sub: '' }),
    'of the deployment': await sign({ sub: '.' }),
    'of an account with too long a name': await sign({ sub: 'a'.repeat(129) }),
    'of a source of webhooks': await sign({ sub: 'webhook-github' }),
    'that was revoked': revoked.token,
    'of an account whose tokens were all revoked': revokedWithAll,
    'dated ahead, of an account whose tokens were all revoked': ahead,
    'that is no token': 'sk-ant-api03-none',
  };
}

test('rejects an invalid credential in either header on every route', async () => {
  stopClock();
  const app = edge();
  const headers: [string, Record<string, string>][] = [['none', {}]];
  for (const [name, token] of Object.entries(await invalidTokens(app)))
    headers.push([`a bearer ${name}`, bearerHeader(token)], [`a key ${name}`, { 'x-api-key': token }]);
  const sent = app.sent.length;
  for (const route of ROUTES) {
    for (const [name, credential] of headers)
      expect((await sendNow(app, route, credential)).status, `${route.method} ${route.url} with ${name}`).toBe(401);
  }
  expect(app.sent).toHaveLength(sent);
});

test('opens exactly the routes of a token’s scopes, for every set of scopes', async () => {
  const app = edge();
  for (const scopes of scopeSets()) {
    const headers = bearerHeader(await createToken('alice', scopes));
    for (const route of ROUTES) {
      const enough = scopesOf(route);
      const isOpen = enough.length === 0 || enough.some((scope) => scopes.includes(scope));
      // They would end what the other cases need.
      if (isOpen && route.method === 'DELETE') continue;
      const { status, text } = await send(app, route, headers);
      const told = `${route.method} ${route.url} with ${scopes.join(' ')}: ${text}`;
      if (isOpen) expect([401, 403], told).not.toContain(status);
      else expect(status, told).toBe(403);
    }
  }
});

test('rejects every kind of restricted token on routes that are not open to it', async () => {
  const app = edge();
  for (const only of [
    { agents: ['sky'] },
    { agents: ['own:sky'] },
    { agents: ['sky'], conversations: ['x'] },
    { agents: ['sky'], conversations: ['web-*'] },
    { agents: ['sky'], approvals: true },
    { agents: ['sky'], tools: 'shown' as const },
    { agents: ['sky'], max_requests: 1_000_000 },
    { classifiers: ['mood'] },
    { agents: ['sky'], classifiers: ['mood'], approvals: true, tools: 'shown' as const },
  ]) {
    for (const scopes of scopeSets()) {
      const headers = bearerHeader(await createToken('alice', scopes, { only }));
      for (const route of ROUTES) {
        const name = `${route.method} ${route.path}`;
        const isOpen = OPEN_TO_RESTRICTED.has(name) || (OPEN_WITH_APPROVALS.has(name) && 'approvals' in only);
        const { status, text } = await send(app, route, headers);
        if (!isOpen) expect([401, 403], `${name} with ${JSON.stringify([scopes, only])}: ${text}`).toContain(status);
      }
    }
  }
  expect(app.sent).toEqual([]);
});

test('prevents a token from reading or changing the data of another account', async () => {
  const app = edge();
  // `operator-scopes` tests what the scopes of operators read of other accounts.
  const scopes = SCOPES.filter((scope) => !scope.startsWith('admin'));
  const alice = bearerHeader(await createToken('alice', scopes));
  const json = { 'content-type': 'application/json', ...alice };
  const SECRET_WORDS = 'The words of alice.';
  const put = { method: 'PUT', headers: json };
  const stored = [
    await app.post('/conversations', { id: 'x', title: SECRET_WORDS }, alice),
    await app.fetch('/prefixes/x', { ...put, body: JSON.stringify({ system: SECRET_WORDS }) }),
    await app.fetch('/agents/x', {
      ...put,
      body: JSON.stringify({ model: 'claude-haiku-4-5', max_tokens: 10, system: SECRET_WORDS }),
    }),
    await app.fetch('/classifiers/x', {
      ...put,
      body: JSON.stringify({ labels: ['a', 'b'], instructions: SECRET_WORDS }),
    }),
  ];
  for (const response of stored) expect([200, 201], await response.text()).toContain(response.status);
  const state = async () =>
    await Promise.all(
      ['/conversations/x', '/prefixes/x', '/agents/x', '/classifiers/x'].map(
        async (path) => await (await app.fetch(path, { headers: alice })).text(),
      ),
    );
  const before = await state();
  for (const text of before) expect(text).toContain(SECRET_WORDS);
  for (const account of ['mallory', 'Alice', 'alice ', 'alice/x', 'alicé', '["alice","x"]']) {
    const headers = bearerHeader(await createToken(account, scopes));
    for (const route of ROUTES) {
      const { status, text } = await send(app, route, headers);
      expect(text, `${route.method} ${route.url} of ${account}`).not.toContain(SECRET_WORDS);
      if (route.path.startsWith('/accounts/:id')) expect([403, 404]).toContain(status);
    }
  }
  expect(await state()).toEqual(before);
});
