import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { decodeJwt } from 'jose';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import * as z from 'zod/mini';
import { SCOPES } from '#edge/auth/identity/identity.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { Account } from '#edge/money/account/account.ts';
import { tokenRowSchema } from '#edge/money/account/usage-answers.schema.ts';
import { MAX_MINTED_TOKENS } from '#edge/money/credentials/credentials.ts';
import { mintedToken, renewedToken } from '#edge/money/credentials/tokens-answers.schema.ts';
import { readError, type TestApp } from '#test/support/app.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';
import { smallEdge } from '../account/small-edge.ts';
import { ASK } from '../account/small-request.ts';

const bindings = env as unknown as Bindings;

const admin = async () => bearerHeader(await createToken('root', ['admin']));

async function mint(app: TestApp, body: unknown) {
  const response = await app.post('/tokens', body, await admin());
  expect(response.status).toBe(201);
  return z.strictObject(mintedToken.shape).parse(await response.json());
}

interface List {
  data: { jti: string }[];
  has_more: boolean;
  first_id: string | null;
  last_id: string | null;
}

async function list(app: TestApp, account: string, query = ''): Promise<List> {
  const response = await app.fetch(`/accounts/${account}/tokens${query}`, { headers: await admin() });
  expect(response.status).toBe(200);
  return (await response.json()) as List;
}

const ONLY = { agents: ['sky', 'own:cloud'], classifiers: ['tickets'] };

describe('POST /tokens', () => {
  test('mints a restricted token with its restrictions in the claim `only`', async () => {
    const only = { ...ONLY, conversations: ['web-*', 'one'] };
    const minted = await mint(smallEdge(), { account: 'alice', scopes: ['messages', 'classify'], only });
    expect(minted.only).toEqual(only);
    expect(decodeJwt(minted.token).only).toEqual(only);
    expect((await mint(smallEdge(), { account: 'alice', scopes: ['messages'] })).only).toBeNull();
  });

  test('mints a token for the requested account, scopes and lifetime', async () => {
    const app = smallEdge();
    const before = Math.floor(Date.now() / 1_000);
    const minted = await mint(app, { account: 'alice', scopes: ['messages'], expires_in: 60, label: 'phone' });
    const after = Math.ceil(Date.now() / 1_000);
    expect(minted).toMatchObject({ account: 'alice', scopes: ['messages'] });
    const claims = decodeJwt(minted.token);
    expect(claims).toMatchObject({ sub: 'alice', scope: 'messages', jti: minted.jti, label: 'phone' });
    expect(Date.parse(minted.expires_at ?? '')).toBe((claims.exp ?? 0) * 1_000);
    expect((claims.exp ?? 0) - before).toBeGreaterThanOrEqual(60);
    expect((claims.exp ?? 0) - after).toBeLessThanOrEqual(60);
    expect((await app.post('/messages', ASK, bearerHeader(minted.token))).status).toBe(200);
    expect(
      (await app.post('/tokens', { account: 'alice', scopes: ['admin'] }, bearerHeader(minted.token))).status,
    ).toBe(403);
    await app.waitUntilSettled();
    expect(app.log.find(({ status }) => status === 200)).toMatchObject({ account: 'alice' });
    expect(JSON.stringify(app.log)).not.toContain(minted.token);
  });

  test('mints tokens without expiry by default, except admin tokens, which expire after 30 days', async () => {
    const minted = await mint(smallEdge(), { account: 'alice', scopes: ['messages', 'classify'] });
    expect(minted.expires_at).toBeNull();
    expect(decodeJwt(minted.token)).not.toHaveProperty('exp');
    // Who may do everything may do so for a month.
    const { exp = 0, iat = 0 } = decodeJwt((await mint(smallEdge(), { account: 'alice', scopes: [...SCOPES] })).token);
    expect(exp - iat).toBe(30 * 86_400);
  });

  test('mints restricted tokens for 15 minutes by default, and for `expires_in` seconds up to its maximum', async () => {
    const asked = { account: 'alice', scopes: ['messages'], only: ONLY };
    for (const [expires_in, expected] of [
      [undefined, 900],
      [60, 60],
      [10 * 365 * 86_400, 10 * 365 * 86_400],
    ]) {
      const { token, expires_at } = await mint(smallEdge(), { ...asked, expires_in });
      const { exp = 0, iat = 0 } = decodeJwt(token);
      expect([exp - iat, Date.parse(expires_at ?? '')]).toEqual([expected, exp * 1_000]);
    }
  });

  test.each<[string, unknown, RegExp]>([
    ['an unknown scope', { account: 'a', scopes: ['messages', 'root'] }, /^scopes\.1: must be one of messages, /],
    ['no scope', { account: 'a', scopes: [] }, /^scopes: /],
    ['scopes in one text', { account: 'a', scopes: 'messages' }, /^scopes: /],
    ['scopes left out', { account: 'a' }, /^scopes: Field required/],
    ['no account', { scopes: ['messages'] }, /^account: Field required/],
    ['an empty account', { account: '', scopes: ['messages'] }, /^account: /],
    ['a long account', { account: 'x'.repeat(129), scopes: ['messages'] }, /^account: /],
    ['an account that is no text', { account: '\ud800', scopes: ['messages'] }, /^account: /],
    ['an account that no path reaches', { account: '..', scopes: ['messages'] }, /^account: /],
    ['an account that pays for webhooks', { account: 'webhook-github', scopes: ['messages'] }, /^account: .*webhook-/],
    ['an end in the past', { account: 'a', scopes: ['messages'], expires_in: -1 }, /^expires_in: /],
    ['an end at once', { account: 'a', scopes: ['messages'], expires_in: 0 }, /^expires_in: /],
    ['an end between seconds', { account: 'a', scopes: ['messages'], expires_in: 1.5 }, /^expires_in: /],
    ['an end beyond any time', { account: 'a', scopes: ['messages'], expires_in: 1e12 }, /^expires_in: /],
    ['a label of any length', { account: 'a', scopes: ['messages'], label: 'x'.repeat(257) }, /^label: /],
    [
      'a restricted token with scopes of its own',
      { account: 'a', scopes: ['messages', 'tools'], only: ONLY },
      /^scopes: /,
    ],
    ['a restricted token for everything', { account: 'a', scopes: ['admin'], only: ONLY }, /^scopes: /],
    ['a restricted token for nothing', { account: 'a', scopes: ['messages'], only: {} }, /^only: requires `agents` or/],
    ['an empty list', { account: 'a', scopes: ['messages'], only: { agents: [] } }, /^only\.agents: /],
    ['no name', { account: 'a', scopes: ['messages'], only: { agents: ['a b'] } }, /^only\.agents\.0: /],
    ['half a version', { account: 'a', scopes: ['messages'], only: { agents: ['own:sky@12'] } }, /^only\.agents\.0: /],
    [
      'a pattern',
      { account: 'a', scopes: ['messages'], only: { ...ONLY, conversations: ['*-a'] } },
      /^only\.conversations/,
    ],
    [
      'no pattern',
      { account: 'a', scopes: ['messages'], only: { ...ONLY, conversations: [''] } },
      /^only\.conversations/,
    ],
    ['what bounds nothing', { account: 'a', scopes: ['messages'], only: { ...ONLY, models: [] } }, /models/],
    ['a name that it does not know', { account: 'a', scopes: ['messages'], expiry: 60 }, /expiry/],
  ])('returns 400 and names the parameter for %s', async (_, body, message) => {
    const response = await smallEdge().post('/tokens', body, await admin());
    const told = await readError(response);
    expect({ status: response.status, type: told.type }).toEqual({ status: 400, type: 'invalid_request_error' });
    expect(told.message).toMatch(message);
  });
});

describe('POST /tokens/renew', () => {
  const renew = async (app: TestApp, token: string) => await app.post('/tokens/renew', {}, bearerHeader(token));
  const asked = {
    account: 'alice',
    scopes: ['messages'],
    expires_in: 60,
    session: 150,
    label: 'phone',
    tags: { team: 'search' },
    only: ONLY,
  };

  test('returns a token with the same claims and a later expiry, until the session ends', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    onTestFinished(() => void vi.useRealTimers());
    const app = smallEdge();
    const minted = await mint(app, asked);
    const first = decodeJwt(minted.token);
    const end = (first.iat ?? 0) + 150;
    let token = minted.token;
    for (const [later, expires] of [
      [50, 110],
      [50, 150],
      [40, 150],
    ] as const) {
      vi.setSystemTime(Date.now() + later * 1_000);
      const response = await renew(app, token);
      expect(response.status).toBe(201);
      const renewed = z.strictObject(renewedToken.shape).parse(await response.json());
      const { exp, ...claims } = decodeJwt(renewed.token);
      expect(claims).toEqual({ ...first, exp: undefined });
      expect((exp ?? 0) - (first.iat ?? 0)).toBe(expires);
      expect([renewed.expires_at, renewed.session_ends_at].map((time) => Date.parse(time) / 1_000)).toEqual([exp, end]);
      token = renewed.token;
    }
    vi.setSystemTime(end * 1_000 + 1);
    expect((await renew(app, token)).status).toBe(401);
  });

  test('rejects a revoked token, its renewals, and a token without a session', async () => {
    const app = smallEdge();
    const { token, jti } = await mint(app, asked);
    const renewed = (await (await renew(app, token)).json()) as { token: string };
    await app.fetch(`/accounts/alice/tokens/${jti}`, { method: 'DELETE', headers: await admin() });
    for (const one of [token, renewed.token]) expect((await renew(app, one)).status).toBe(401);
    const other = (await mint(app, { account: 'bob', scopes: ['messages'], expires_in: 60 })).token;
    expect((await readError(await renew(app, other))).message).toContain('without `session`');
  });

  test('requires `expires_in` for a session', async () => {
    for (const wrong of [{ session: 100 }, { session: 10, expires_in: 20 }]) {
      const response = await smallEdge().post(
        '/tokens',
        { account: 'a', scopes: ['messages'], ...wrong },
        await admin(),
      );
      expect((await readError(response)).message).toMatch(/^session: requires `expires_in`/);
    }
  });
});

describe('GET /accounts/:id/tokens', () => {
  test('lists minted and used tokens, and never contains a token itself', async () => {
    const app = smallEdge();
    const minted = await mint(app, { account: 'alice', scopes: ['messages', 'classify'], label: 'laptop' });
    const elsewhere = await createToken('alice', ['messages'], { expiresIn: 600 });
    for (const token of [minted.token, elsewhere]) await app.post('/messages', ASK, bearerHeader(token));
    await mint(app, { account: 'bob', scopes: ['messages'] });
    const { data, ...page } = await list(app, 'alice');
    const { jti } = decodeJwt(elsewhere);
    expect(data.map((row) => z.strictObject(tokenRowSchema.shape).parse(row))).toEqual([
      {
        jti,
        label: null,
        scopes: null,
        minted_at: null,
        first_seen_at: expect.any(String),
        expires_at: expect.any(String),
        revoked_at: null,
        limits: null,
        spent_usd: null,
        locations: [{ hour: expect.any(String), country: null, asn: null, client: 'other' }],
      },
      {
        jti: minted.jti,
        label: 'laptop',
        scopes: ['messages', 'classify'],
        minted_at: expect.any(String),
        first_seen_at: expect.any(String),
        expires_at: null,
        revoked_at: null,
        limits: null,
        spent_usd: null,
        locations: [{ hour: expect.any(String), country: null, asn: null, client: 'other' }],
      },
    ]);
    expect(page).toEqual({ has_more: false, first_id: jti, last_id: minted.jti });
    for (const token of [minted.token, elsewhere]) {
      for (const part of token.split('.')) expect(JSON.stringify(data)).not.toContain(part);
    }
  });

  test('lists revoked tokens that were never used successfully', async () => {
    const app = smallEdge();
    const { token, jti } = await mint(app, { account: 'alice', scopes: ['messages'] });
    await app.fetch(`/accounts/alice/tokens/${jti}`, { method: 'DELETE', headers: await admin() });
    await app.fetch('/accounts/alice/tokens/never-seen', { method: 'DELETE', headers: await admin() });
    expect((await app.post('/messages', ASK, bearerHeader(token))).status).toBe(401);
    const { data } = await list(app, 'alice');
    expect(data.map((row) => row.jti).sort()).toEqual([jti, 'never-seen'].sort());
    for (const row of data) expect(row).toMatchObject({ revoked_at: expect.any(String), first_seen_at: null });
  });

  test('pages by id, newest first', async () => {
    const app = smallEdge();
    const all: string[] = [];
    let clock = Date.now();
    await runInDurableObject(getAccountStub(bindings, {}, 'alice'), (account: Account) => {
      Object.assign(account, { now: () => clock });
      for (const jti of ['m', 'z', 'a', 'q', 'b', 'x', 'c']) {
        clock += 1_000;
        account.recordMintedToken({ jti, scopes: ['messages'] });
        all.unshift(jti);
      }
    });
    const ids = ({ data }: List) => data.map(({ jti }) => jti);
    const first = await list(app, 'alice', '?limit=3');
    expect(first).toMatchObject({ has_more: true, first_id: all[0], last_id: all[2] });
    const second = await list(app, 'alice', `?limit=3&after_id=${first.last_id}`);
    expect({ ids: ids(second), more: second.has_more }).toEqual({ ids: all.slice(3, 6), more: true });
    const third = await list(app, 'alice', `?limit=3&after_id=${second.last_id}`);
    expect({ ids: ids(third), more: third.has_more }).toEqual({ ids: all.slice(6), more: false });
    const back = await list(app, 'alice', `?limit=2&before_id=${second.first_id}`);
    expect({ ids: ids(back), more: back.has_more }).toEqual({ ids: all.slice(1, 3), more: true });
    // A token that was let go in the meantime ends the list, and does not begin it again.
    expect(await list(app, 'alice', '?after_id=gone')).toMatchObject({ data: [], has_more: false });
    expect(ids(await list(app, 'alice'))).toEqual(all);
  });
});

test('limits the valid tokens of an account, and mints another only after one has expired or been revoked', async () => {
  const account = getAccountStub(bindings, {}, 'crowded');
  const now = Math.floor(Date.now() / 1_000);
  await runInDurableObject(account, (object: Account) => {
    for (let n = 0; n < MAX_MINTED_TOKENS; n += 1) {
      // Half of them end, a quarter has ended.
      const exp = n % 4 === 0 ? now - 10 : n % 4 === 1 ? now + 3_600 : undefined;
      const token = { jti: `t${n}`, scopes: ['messages'], ...(exp === undefined ? {} : { exp }) };
      expect(object.recordMintedToken(token)).toBe(true);
    }
  });
  const app = smallEdge();
  const headers = await admin();
  const mint = async () => await app.post('/tokens', { account: 'crowded', scopes: ['messages'] }, headers);
  let minted = 0;
  let answer = await mint();
  for (; answer.status === 201 && minted <= MAX_MINTED_TOKENS; minted += 1) answer = await mint();
  expect(minted).toBe(MAX_MINTED_TOKENS / 4);
  expect(answer.status).toBe(400);
  expect((await readError(answer)).message).toContain('Revoke some');
  // What has ended is no row any more.
  const rows = async () =>
    await runInDurableObject(account, (_, { storage }) => storage.sql.exec('select count(*) as n from tokens').one().n);
  expect(await rows()).toBeLessThanOrEqual(MAX_MINTED_TOKENS);
  await account.revokeToken('t1');
  expect((await mint()).status).toBe(201);
  expect((await mint()).status).toBe(400);
});

test('returns 200 if a token to revoke does not exist or was already revoked', async () => {
  const app = smallEdge();
  for (let i = 0; i < 2; i += 1) {
    for (const path of ['/accounts/alice/tokens/x%2Fy', '/accounts/alice/tokens']) {
      const response = await app.fetch(path, { method: 'DELETE', headers: await admin() });
      expect(response.status).toBe(200);
    }
  }
  expect((await list(app, 'alice')).data).toMatchObject([{ jti: 'x/y' }]);
});

test('rejects a whole token, or an id that no token can have, in place of the id of a token to revoke', async () => {
  const app = smallEdge();
  const whole = await createToken('alice');
  for (const [jti, message] of [
    [whole, /^jti: this is a whole token\. Send its id: `jti`/],
    ['x'.repeat(257), /^jti: must have 1 to 256 characters/],
  ] as const) {
    const response = await app.fetch(`/accounts/alice/tokens/${jti}`, { method: 'DELETE', headers: await admin() });
    expect(response.status).toBe(400);
    expect(await readError(response)).toMatchObject({
      type: 'invalid_request_error',
      message: expect.stringMatching(message) as string,
    });
  }
  expect((await list(app, 'alice')).data).toEqual([]);
  const longest = await app.fetch(`/accounts/alice/tokens/${'x'.repeat(256)}`, {
    method: 'DELETE',
    headers: await admin(),
  });
  expect(longest.status).toBe(200);
});
