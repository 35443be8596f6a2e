import { Hono } from 'hono';
import { expect, test, vi } from 'vitest';
import type { AppOptions } from '#edge/app.ts';
import type { AppEnv } from '#edge/auth/context.ts';
import { ApiError } from '#edge/kit/http/errors.ts';
import { createTestApp, readError } from '#test/support/app.ts';
import { SMALL_MESSAGE } from '#test/support/small-message.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';

type Authenticate = NonNullable<AppOptions['authenticate']>;

declare module 'hono' {
  interface ContextVariableMap {
    /** What a Worker's own middleware has found out. */
    user: string;
  }
}

const ASK = { model: 'claude-haiku-5-5', max_tokens: 10, stream: false, messages: [{ role: 'user', content: 'Hi' }] };

/** A credential of the test's own kind. */
const as = (user: string) => ({ 'sluice-user': user });
const byHeader: Authenticate = (request) => {
  const account = request.headers.get('sluice-user');
  return account === null ? undefined : { account };
};
const withAuth = (authenticate: Authenticate, vars: Record<string, unknown> = DEPLOYED_VARS) =>
  createTestApp(() => Response.json(SMALL_MESSAGE), vars, { options: { authenticate } });

test('the account that `authenticate` returns is used, and the caller’s credential is not sent upstream', async () => {
  const app = withAuth(byHeader);
  expect((await app.post('/messages', ASK, as('alice'))).status).toBe(200);
  await app.waitUntilSettled();
  expect(app.log.at(-1)).toMatchObject({ account: 'alice', status: 200 });
  expect(app.sent[0]?.headers.has('sluice-user')).toBe(false);
  const usage = await app.fetch('/usage', { headers: as('alice') });
  expect(await usage.json()).toMatchObject({ total: { requests: 1 } });
  // The scopes are those of a provider's token that names none.
  expect((await app.fetch('/accounts', { headers: as('alice') })).status).toBe(403);
  expect((await app.fetch('/accounts/bob', { headers: as('alice') })).status).toBe(404);
});

test('a caller unknown to `authenticate` needs a credential of Sluice, and gets a 401 without one', async () => {
  const both = withAuth(byHeader);
  expect((await both.fetch('/accounts', { headers: bearerHeader(await createToken('root', ['admin'])) })).status).toBe(
    200,
  );
  for (const vars of [DEPLOYED_VARS, { MODE: '' }]) {
    const app = withAuth(byHeader, vars);
    for (const headers of [{}, bearerHeader('anything'), bearerHeader('eyJ.a.b')]) {
      const refused = await app.post('/messages', ASK, headers);
      expect([refused.status, (await readError(refused)).type]).toEqual([401, 'authentication_error']);
    }
    expect(app.sent).toEqual([]);
  }
});

test('in development, `authenticate` is called as well, and an unknown caller is the account dev', async () => {
  const app = withAuth(byHeader, {});
  await app.post('/messages', ASK, as('alice'));
  await app.post('/messages', ASK);
  await app.waitUntilSettled();
  expect(app.log.map(({ account }) => account)).toEqual(['alice', 'dev']);
});

test('`authenticate` is called only for private paths', async () => {
  const asked = vi.fn(byHeader);
  const app = withAuth(asked);
  await app.fetch('/health');
  await app.fetch('/nope');
  expect(asked).not.toHaveBeenCalled();
  await app.fetch('/usage', { headers: as('alice') });
  expect(asked).toHaveBeenCalledTimes(1);
});

test('a token that `authenticate` returns is listed and can be revoked; an account without one stays accepted', async () => {
  const issued_at = Math.floor(Date.now() / 1_000) - 60;
  const app = withAuth((request) => {
    const [account, jti] = request.headers.get('sluice-user')?.split('/') ?? [];
    if (account === undefined) return undefined;
    return jti === undefined ? { account } : { account, scopes: ['messages'], token: { jti, issued_at } };
  });
  const root = bearerHeader(await createToken('root', ['admin']));
  const status = async (user: string) => (await app.post('/messages', ASK, as(user))).status;
  expect([await status('alice/s1'), await status('alice/s2'), await status('alice')]).toEqual([200, 200, 200]);
  const listed = await app.fetch('/accounts/alice/tokens', { headers: root });
  const { data } = (await listed.json()) as { data: { jti: string }[] };
  expect(data.map(({ jti }) => jti).sort()).toEqual(['s1', 's2']);
  await app.fetch('/accounts/alice/tokens/s1', { method: 'DELETE', headers: root });
  expect([await status('alice/s1'), await status('alice/s2')]).toEqual([401, 200]);
  expect((await app.fetch('/conversations', { headers: as('alice/s1') })).status).toBe(401);
  await app.fetch('/accounts/alice/tokens', { method: 'DELETE', headers: root });
  expect([await status('alice/s2'), await status('alice/s3'), await status('alice')]).toEqual([401, 401, 200]);
});

test('an exception in `authenticate` ends the request, and only an ApiError keeps its message', async () => {
  const app = withAuth((request) => {
    if (request.headers.has('sluice-user')) throw new ApiError('permission_error', 'You are banned.');
    throw new Error('the password of the database');
  });
  const banned = await app.post('/messages', ASK, as('alice'));
  expect([banned.status, (await readError(banned)).message]).toEqual([403, 'You are banned.']);
  const broken = await app.post('/messages', ASK);
  expect(broken.status).toBe(500);
  expect(await broken.text()).not.toContain('password');
  expect(app.sent).toEqual([]);
});

test('an invalid account name from `authenticate` returns a 401, and any other invalid value a 500', async () => {
  const app = withAuth(byHeader);
  for (const name of ['', 'x'.repeat(129), '..', '.', 'webhook-github']) {
    expect((await app.post('/messages', ASK, as(name))).status, name).toBe(401);
  }
  for (const caller of [{ account: 'alice', scopes: ['root'] }, { account: 'alice', scope: 'messages' }, 'alice']) {
    const wrong = withAuth(() => caller as unknown as { account: string });
    const response = await wrong.post('/messages', ASK);
    expect([response.status, response.headers.get('x-should-retry')]).toEqual([500, 'false']);
    expect((await readError(response)).message).toContain('`authenticate`');
    expect(wrong.sent).toEqual([]);
  }
});

test('`authenticate` may read the body of a clone, and gets an error if it reads the original body', async () => {
  const clone = withAuth(async (request) => ({ account: `a${(await request.clone().text()).length}` }));
  expect((await clone.post('/messages', ASK)).status).toBe(200);
  await clone.waitUntilSettled();
  expect(clone.log.at(-1)).toMatchObject({ account: `a${JSON.stringify(ASK).length}` });
  const taken = withAuth(async (request) => ({ account: `a${(await request.text()).length}` }));
  expect((await readError(await taken.post('/messages', ASK))).message).toContain('clone');
});

test("`authenticate` can read the variables of the Worker's middleware", async () => {
  const app = createTestApp(() => Response.json(SMALL_MESSAGE), DEPLOYED_VARS, {
    options: { authenticate: (_, c) => ({ account: c.get('user') }) },
    around: (edge) =>
      new Hono<AppEnv>()
        .use(async (c, next) => {
          c.set('user', 'carol');
          await next();
        })
        .route('/ai', edge),
  });
  expect((await app.post('/ai/messages', ASK)).status).toBe(200);
  await app.waitUntilSettled();
  expect(app.log.at(-1)).toMatchObject({ account: 'carol' });
});
