// In workerd: the cryptography is the runtime's.
import 'cloudflare:workers';

import fc from 'fast-check';
import { exportJWK, exportSPKI, generateKeyPair, type JWTPayload, SignJWT } from 'jose';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { getCachedOrComputeMark } from '#edge/auth/account-mark.ts';
import { isAdminScope, SCOPES } from '#edge/auth/identity/identity.ts';
import { mintToken } from '#edge/auth/mint.ts';
import { isJwt, verifyToken } from '#edge/auth/verify.ts';
import { parseSettings, type Settings } from '#edge/config/settings.ts';
import { ApiError } from '#edge/kit/http/errors.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';
import { SECRET } from '#test/support/tokens.ts';

const OTHER = 'another-secret-that-has-32-characters';
const NOW = Date.parse('2026-11-20T12:00:00Z');
const SECONDS = NOW / 1_000;

/** New settings each time: what one test's isolate remembers is none of another's business. */
const own = (more: Record<string, string> = {}) => parseSettings({ SIGNING_SECRET: SECRET, ...more });

const encoder = new TextEncoder();
const base64url = (bytes: Uint8Array) => bytes.toBase64({ alphabet: 'base64url', omitPadding: true });
const part = (value: unknown) => base64url(encoder.encode(typeof value === 'string' ? value : JSON.stringify(value)));

/** A token as no library would sign it. */
async function forge(header: unknown, claims: unknown, secret: string | Uint8Array = SECRET): Promise<string> {
  const signed = `${part(header)}.${part(claims)}`;
  const hash = `SHA-${/\d+/.exec((header as { alg?: string }).alg ?? '')?.[0] ?? '256'}`;
  const raw = typeof secret === 'string' ? encoder.encode(secret) : secret;
  const key = await crypto.subtle.importKey('raw', raw, { name: 'HMAC', hash }, false, ['sign']);
  return `${signed}.${base64url(new Uint8Array(await crypto.subtle.sign('HMAC', key, encoder.encode(signed))))}`;
}

const HS256 = { alg: 'HS256', typ: 'JWT' };
const CLAIMS = { sub: 'alice', scope: 'messages', jti: 'one', iat: SECONDS - 60, exp: SECONDS + 60 };

async function refusal(token: string, settings: Settings, now = NOW): Promise<ApiError> {
  try {
    await verifyToken(token, settings, now);
  } catch (thrown) {
    if (thrown instanceof ApiError) return thrown;
    throw thrown;
  }
  throw new Error(`accepted: ${token}`);
}

async function expectRefused(token: string, settings: Settings, now = NOW): Promise<void> {
  const { type, status, headers, message } = await refusal(token, settings, now);
  expect({ type, status, headers }).toEqual({
    type: 'authentication_error',
    status: 401,
    headers: { 'x-should-retry': 'false' },
  });
  for (const text of [SECRET, ...token.split('.')]) if (text.length > 10) expect(message).not.toContain(text);
}

describe('a token that Sluice minted', () => {
  test('is limited to its claim `only` and to messages and classify, and is rejected if the claim is unreadable', async () => {
    const only = { agents: ['sky'] };
    const all = { ...CLAIMS, scope: SCOPES.join(' '), only };
    expect(await verifyToken(await forge(HS256, all), own(), NOW)).toMatchObject({
      scopes: ['messages', 'classify'],
      only,
    });
    expect((await verifyToken(await forge(HS256, CLAIMS), own(), NOW)).only).toBeUndefined();
    for (const claim of [
      null,
      {},
      [],
      'sky',
      { agents: [] },
      { agents: 'sky' },
      { ...only, unknown: 1 },
      { agents: ['a b'] },
    ]) {
      await expectRefused(await forge(HS256, { ...CLAIMS, only: claim }), own());
    }
  });

  test('yields its account, scopes and label for any account name', async () => {
    const settings = own();
    const account = fc.oneof(
      fc.string({ unit: 'binary', minLength: 1, maxLength: 64 }),
      fc.constantFrom('x'.repeat(128), 'a/b', '__proto__'),
    );
    await tryAsyncCases(100, account, fc.subarray([...SCOPES]), async (sub, scopes) => {
      const { token, jti } = await mintToken(SECRET, { account: sub, scopes, label: 'laptop' }, NOW);
      expect(await verifyToken(token, settings, NOW)).toEqual({
        account: sub,
        scopes,
        // A token that reaches all accounts is valid for a month.
        token: {
          jti,
          issued_at: SECONDS,
          expires_at: scopes.some(isAdminScope) ? SECONDS + 30 * 86_400 : undefined,
          scopes,
          label: 'laptop',
          issuer: 'edge',
          mark: await getCachedOrComputeMark(SECRET, sub),
        },
      });
    });
  });

  test.each(['with', 'without'])('%s an ID is rejected if altering a character alters decoded bytes', async (how) => {
    const token = await forge(HS256, how === 'with' ? CLAIMS : { ...CLAIMS, jti: undefined });
    const known = await verifyToken(token, own(), NOW);
    const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \u0000é';
    const settings = own();
    let accepted = 0;
    for (let at = 0; at < token.length; at += 1) {
      for (const letter of [...letters].filter((_, index) => at === token.length - 1 || (index + at) % 9 === 0)) {
        const altered = token.slice(0, at) + letter + token.slice(at + 1);
        if (altered === token) continue;
        const identity = await verifyToken(altered, settings, NOW).catch((thrown: unknown) => thrown);
        if (identity instanceof ApiError) {
          expect(identity.status).toBe(401);
          continue;
        }
        // The last character of a signature has bits that say nothing. It is then the same token, and revoked as one.
        expect(at).toBe(token.length - 1);
        expect(identity).toEqual(known);
        accepted += 1;
      }
    }
    expect(accepted).toBeLessThanOrEqual(3);
    for (const length of [
      0,
      1,
      token.length - 1,
      token.length - 2,
      token.lastIndexOf('.'),
      token.lastIndexOf('.') + 1,
    ]) {
      await expectRefused(token.slice(0, length), settings);
    }
  });

  test.each<[string, () => Promise<string>]>([
    ['has no algorithm and no signature', async () => `${part({ alg: 'none' })}.${part(CLAIMS)}.`],
    ['has no algorithm but a signature', async () => await forge({ alg: 'none' }, CLAIMS)],
    ['writes its missing algorithm in another case', async () => `${part({ alg: 'nOnE' })}.${part(CLAIMS)}.`],
    ['does not say its algorithm', async () => await forge({ typ: 'JWT' }, CLAIMS)],
    ['is HS256 without a signature', async () => `${part(HS256)}.${part(CLAIMS)}.`],
    ['is signed by another HMAC with the right secret', async () => await forge({ alg: 'HS512' }, CLAIMS)],
    ['is signed with another secret', async () => await forge(HS256, CLAIMS, OTHER)],
    ['is signed with an empty secret', async () => await forge(HS256, CLAIMS, new Uint8Array(1))],
    ['has expired', async () => await forge(HS256, { ...CLAIMS, exp: SECONDS - 1 })],
    ['ends this very second', async () => await forge(HS256, { ...CLAIMS, exp: SECONDS })],
    ['ends at what is no time', async () => await forge(HS256, { ...CLAIMS, exp: 'never' })],
    ['is not valid yet', async () => await forge(HS256, { ...CLAIMS, nbf: SECONDS + 1 })],
    ['names no account', async () => await forge(HS256, { ...CLAIMS, sub: undefined })],
    ['names an empty account', async () => await forge(HS256, { ...CLAIMS, sub: '' })],
    ['names an account of 129 characters', async () => await forge(HS256, { ...CLAIMS, sub: 'x'.repeat(129) })],
    ['names an account by a number', async () => await forge(HS256, { ...CLAIMS, sub: 7 })],
    ['names an account that is no text', async () => await forge(HS256, { ...CLAIMS, sub: 'x\ud800' })],
    ['needs what nobody here understands', async () => await forge({ ...HS256, crit: ['x'], x: 1 }, CLAIMS)],
    ['is not encoded as it says', async () => await forge({ ...HS256, crit: ['b64'], b64: false }, CLAIMS)],
    ['says no claims', async () => await forge(HS256, 'no claims')],
    ['says a list of claims', async () => await forge(HS256, [CLAIMS])],
    ['has a header that is no object', async () => await forge('"HS256"', CLAIMS)],
  ])('is rejected if it %s', async (_, token) => {
    await expectRefused(await token(), own());
    await expectRefused(await token(), own({ SIGNING_SECRET_PREVIOUS: `${OTHER}-before` }));
  });

  test('is rejected if its account is that of a webhook source', async () => {
    for (const account of ['webhook-github', 'webhook-', 'webhook-of-nobody']) {
      await expectRefused(await forge(HS256, { ...CLAIMS, sub: account }), own());
      await expectRefused(await forge(HS256, { ...CLAIMS, sub: account, scope: 'admin' }), own());
    }
    const almost = await forge(HS256, { ...CLAIMS, sub: 'webhook' });
    expect((await verifyToken(almost, own(), NOW)).account).toBe('webhook');
  });

  test('is valid with the old or the new secret during a rotation, and only with the new secret afterwards', async () => {
    const [old, fresh] = await Promise.all([forge(HS256, CLAIMS, OTHER), forge(HS256, CLAIMS)]);
    const rotating = own({ SIGNING_SECRET_PREVIOUS: OTHER });
    for (const token of [old, fresh]) expect((await verifyToken(token, rotating, NOW)).account).toBe('alice');
    await expectRefused(await forge(HS256, { ...CLAIMS, exp: SECONDS - 1 }, OTHER), rotating);
    await expectRefused(await forge(HS256, CLAIMS, `${OTHER}!`), rotating);
    const rotated = own();
    expect((await verifyToken(fresh, rotated, NOW)).account).toBe('alice');
    await expectRefused(old, rotated);
  });

  test('is verified once and cached until the second in which it expires', async () => {
    const settings = own();
    const verify = vi.spyOn(crypto.subtle, 'verify');
    const token = await forge(HS256, CLAIMS);
    for (const now of [NOW, NOW + 30_000, NOW + 59_999]) {
      expect((await verifyToken(token, settings, now)).account).toBe('alice');
    }
    expect(verify).toHaveBeenCalledTimes(1);
    await expectRefused(token, settings, NOW + 60_000);
    await expectRefused(token, settings, NOW + 1e9);
    verify.mockRestore();
  });

  test('is verified again after a rejection, and a cached result does not apply to another secret', async () => {
    const token = await forge(HS256, { ...CLAIMS, nbf: SECONDS + 10 });
    const settings = own();
    await expectRefused(token, settings);
    expect((await verifyToken(token, settings, NOW + 10_000)).account).toBe('alice');
    await expectRefused(token, parseSettings({ SIGNING_SECRET: OTHER }), NOW + 10_000);
  });

  test('is rejected if it is dated more than ten seconds in the future', async () => {
    const settings = own();
    const ahead = await forge(HS256, { ...CLAIMS, iat: SECONDS + 11 });
    await expect(verifyToken(ahead, settings, NOW)).rejects.toMatchObject({
      type: 'authentication_error',
      message: expect.stringContaining('dated more than 10 seconds in the future'),
    });
    expect((await verifyToken(ahead, settings, NOW + 1_000)).account).toBe('alice');
    expect((await verifyToken(await forge(HS256, { ...CLAIMS, iat: SECONDS + 10 }), settings, NOW)).account).toBe(
      'alice',
    );
  });

  test('keeps only the scopes that Sluice knows', async () => {
    const scopes = async (scope: unknown) =>
      (await verifyToken(await forge(HS256, { ...CLAIMS, scope }), own(), NOW)).scopes;
    expect(await scopes('messages root classify')).toEqual(['messages', 'classify']);
    expect(await scopes(['prefixes'])).toEqual(['prefixes']);
    expect(await scopes('Admin administrator')).toEqual([]);
    for (const none of [undefined, null, 7, {}, '']) expect(await scopes(none)).toEqual([]);
  });

  test.each<[string, unknown]>([
    ['absent', undefined],
    ['empty', ''],
    ['a number', 7],
    ['an object', { $ne: 1 }],
    ['no text', '\ud800'],
    ['longer than is kept', 'x'.repeat(257)],
  ])('is identified by a hash of its signed text if its ID is %s', async (_, jti) => {
    const token = await forge(HS256, { ...CLAIMS, jti });
    const known = await verifyToken(token, own(), NOW);
    expect(known.token?.jti).toMatch(/^sha256-[0-9a-f]{32}$/);
    const another = await verifyToken(await forge(HS256, { ...CLAIMS, jti, iat: 1 }), own(), NOW);
    expect(another.token?.jti).not.toBe(known.token?.jti);
  });
});

test('recognizes a JWT only by three base64url parts with a header', () => {
  for (const text of [
    '',
    'sk-ant-api03-x',
    'eyJ',
    'eyJh.eyJh',
    'eyJh.eyJh.x.y',
    'x.y.z',
    'eyJ a.b.c',
    'eyJa.b.c\n',
    'eyJ=.b.c',
  ]) {
    expect(isJwt(text), text).toBe(false);
  }
  expect(isJwt('eyJh.eyJh.')).toBe(true);
});

describe('an identity provider’s token', () => {
  const ISSUER = 'https://login.example.com/';
  const AUDIENCE = 'sluice';
  const URL_OF_KEYS = 'https://login.example.com/keys';
  const claims: JWTPayload = { iss: ISSUER, aud: AUDIENCE, sub: 'user|1', iat: SECONDS - 60, exp: SECONDS + 3_600 };

  interface Pair {
    kid: string;
    alg: string;
    privateKey: CryptoKey;
    publicKey: CryptoKey;
  }
  let rsa: Pair;
  let ec: Pair;
  let later: Pair;
  /** What the provider's URL answers. */
  let keys: () => Promise<Response>;
  let fetched = 0;

  const pairOf = async (alg: string, kid: string): Promise<Pair> => ({
    kid,
    alg,
    ...(await generateKeyPair(alg, { extractable: true })),
  });
  const serving = async (...pairs: Pair[]) => {
    const jwks = await Promise.all(
      pairs.map(async ({ kid, alg, publicKey }) => ({ ...(await exportJWK(publicKey)), kid, alg, use: 'sig' })),
    );
    keys = async () => Response.json({ keys: jwks });
  };
  const signed = async ({ kid, alg, privateKey }: Pair, payload: Record<string, unknown> = claims) =>
    await new SignJWT(payload).setProtectedHeader({ alg, kid }).sign(privateKey);
  const settingsOf = (more: Record<string, string> = {}) =>
    parseSettings({
      JWKS_URL: URL_OF_KEYS,
      JWT_ISSUER: ISSUER,
      JWT_AUDIENCE: AUDIENCE,
      DEFAULT_LIMITS: '{"usd_per_day":1}',
      ...more,
    });

  beforeAll(async () => {
    [rsa, ec, later] = await Promise.all([pairOf('RS256', 'a'), pairOf('ES256', 'b'), pairOf('ES256', 'c')]);
  });

  async function provider(...pairs: Pair[]): Promise<void> {
    fetched = 0;
    await serving(...pairs);
    vi.stubGlobal('fetch', async (url: string) => {
      expect(String(url)).toBe(URL_OF_KEYS);
      fetched += 1;
      return await keys();
    });
  }

  afterEach(() => {
    vi.unstubAllGlobals();
    vi.useRealTimers();
  });

  test('belongs to the account in its subject, and the keys are fetched once', async () => {
    await provider(rsa, ec);
    const settings = settingsOf();
    for (const pair of [rsa, ec]) {
      const token = await signed(pair, { ...claims, jti: `by-${pair.kid}` });
      expect(await verifyToken(token, settings, NOW)).toEqual({
        account: 'user|1',
        scopes: ['messages', 'classify'],
        token: {
          jti: `by-${pair.kid}`,
          issued_at: SECONDS - 60,
          expires_at: SECONDS + 3_600,
          scopes: ['messages', 'classify'],
          label: undefined,
          issuer: 'provider',
        },
      });
    }
    expect(fetched).toBe(1);
  });

  test('is rejected if its subject is the account of a webhook source', async () => {
    await provider(rsa);
    await expectRefused(await signed(rsa, { ...claims, sub: 'webhook-github' }), settingsOf());
  });

  test('has the known scopes of its claim, or else messages and classify', async () => {
    await provider(rsa);
    const settings = settingsOf();
    for (const [scope, expected] of [
      ['openid messages profile', ['messages']],
      [['prefixes', 'email'], ['prefixes']],
      ['openid profile', ['messages', 'classify']],
      [[], ['messages', 'classify']],
      [{ admin: true }, ['messages', 'classify']],
    ] as const) {
      expect((await verifyToken(await signed(rsa, { ...claims, scope }), settings, NOW)).scopes).toEqual(expected);
    }
  });

  test('has admin scopes only if JWT_ADMIN is true', async () => {
    await provider(rsa);
    for (const [scope, expected] of [
      ['admin', ['messages', 'classify']],
      ['openid admin prefixes', ['prefixes']],
      [['admin', 'classify'], ['classify']],
      ['read', ['messages', 'classify']],
      ['openid read classify', ['classify']],
      ['admin:read', ['messages', 'classify']],
      ['admin:read admin:metrics admin:backup prefixes', ['prefixes']],
    ] as const) {
      const token = await signed(rsa, { ...claims, scope });
      for (const vars of [{}, { JWT_ADMIN: '' }, { JWT_ADMIN: 'false' }]) {
        expect((await verifyToken(token, settingsOf(vars), NOW)).scopes).toEqual(expected);
      }
      const named = [scope].flat().join(' ').split(' ');
      const granted = SCOPES.filter((one) => named.includes(one));
      expect((await verifyToken(token, settingsOf({ JWT_ADMIN: 'true' }), NOW)).scopes).toEqual(
        granted.length === 0 ? ['messages', 'classify'] : granted,
      );
    }
    // A token of this edge is its operator's own.
    const minted = await forge(HS256, { ...CLAIMS, scope: 'admin' });
    expect((await verifyToken(minted, settingsOf({ SIGNING_SECRET: SECRET }), NOW)).scopes).toContain('admin');
  });

  test.each<[string, Record<string, unknown>]>([
    ['of another issuer', { ...claims, iss: 'https://login.example.com' }],
    ['without an issuer', { ...claims, iss: undefined }],
    ['for another audience', { ...claims, aud: 'somebody-else' }],
    ['for a list of other audiences', { ...claims, aud: ['a', 'b'] }],
    ['without an audience', { ...claims, aud: undefined }],
    ['without an end', { ...claims, exp: undefined }],
    ['that has expired', { ...claims, exp: SECONDS - 10 }],
    ['that is not valid yet', { ...claims, nbf: SECONDS + 11 }],
    ['without a subject', { ...claims, sub: undefined }],
    ['with a subject that no account can have', { ...claims, sub: 'x'.repeat(129) }],
  ])('%s is rejected', async (_, payload) => {
    await provider(rsa);
    await expectRefused(await signed(rsa, payload), settingsOf());
    expect((await verifyToken(await signed(rsa, { ...claims, aud: ['a', AUDIENCE] }), settingsOf(), NOW)).account).toBe(
      'user|1',
    );
  });

  test('is valid from ten seconds before `nbf` until ten seconds after `exp`, and is not cached longer', async () => {
    await provider(rsa);
    const settings = settingsOf();
    const early = await signed(rsa, { ...claims, nbf: SECONDS + 10 });
    expect((await verifyToken(early, settings, NOW)).account).toBe('user|1');
    const ending = await signed(rsa, { ...claims, exp: SECONDS });
    for (const later of [0, 9_999]) expect((await verifyToken(ending, settings, NOW + later)).account).toBe('user|1');
    await expectRefused(ending, settings, NOW + 10_000);
  });

  test('without a key ID is verified with at most the first four of the provider’s keys that have no ID', async () => {
    const unnamed = await Promise.all(['1', '2', '3', '4', '5'].map((kid) => pairOf('ES256', kid)));
    await provider();
    const jwks = await Promise.all(unnamed.map(async ({ publicKey }) => await exportJWK(publicKey)));
    keys = async () => Response.json({ keys: jwks });
    const settings = settingsOf();
    const [first, , , fourth, fifth] = await Promise.all(
      unnamed.map(
        async ({ alg, privateKey }) => await new SignJWT(claims).setProtectedHeader({ alg }).sign(privateKey),
      ),
    );
    for (const token of [first, fourth]) expect((await verifyToken(token ?? '', settings, NOW)).account).toBe('user|1');
    await expectRefused(fifth ?? '', settings);
    await expectRefused(await signed(later), settings);
  });

  test('cannot be forged with the provider’s public key', async () => {
    await provider(rsa);
    const jwk = await exportJWK(rsa.publicKey);
    const spki = await exportSPKI(rsa.publicKey);
    for (const settings of [settingsOf(), settingsOf({ SIGNING_SECRET: SECRET })]) {
      for (const secret of [spki, spki.trim(), JSON.stringify(jwk), jwk.n ?? '', base64url(encoder.encode(spki))]) {
        for (const alg of ['HS256', 'HS384', 'HS512']) {
          await expectRefused(await forge({ alg, kid: 'a' }, claims, secret), settings);
        }
      }
      await expectRefused(`${part({ alg: 'none', kid: 'a' })}.${part(claims)}.`, settings);
    }
  });

  test('is verified only with the key that it names and that key’s algorithm', async () => {
    await provider(rsa, ec);
    const settings = settingsOf();
    await expectRefused(await signed({ ...ec, kid: rsa.kid }), settings);
    await expectRefused(await signed({ ...later, kid: ec.kid }), settings);
    await expectRefused(await signed({ ...ec, kid: 'unknown' }), settings);
    const stranger = await pairOf('RS512', rsa.kid);
    await expectRefused(await signed(stranger), settings);
    const embedded = await new SignJWT(claims)
      .setProtectedHeader({ alg: 'ES256', jwk: await exportJWK(later.publicKey) })
      .sign(later.privateKey);
    await expectRefused(embedded, settings);
  });

  test('is rejected without JWKS_URL, and minted tokens are rejected without SIGNING_SECRET', async () => {
    await provider(rsa);
    const settings = settingsOf({ SIGNING_SECRET: SECRET });
    const minted = await forge(HS256, CLAIMS);
    expect((await verifyToken(minted, settings, NOW)).token?.issuer).toBe('edge');
    expect(fetched).toBe(0);
    await expectRefused(minted, settingsOf());
    await expectRefused(await signed(rsa), own());
  });

  test('signed with a new key is accepted after the provider publishes the key', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: NOW });
    await provider(rsa);
    const settings = settingsOf();
    await verifyToken(await signed(rsa), settings);
    const token = await signed(later);
    await expectRefused(token, settings);
    expect(fetched).toBe(1);
    await serving(rsa, later);
    vi.setSystemTime(NOW + 31_000);
    expect((await verifyToken(token, settings)).account).toBe('user|1');
    expect(fetched).toBe(2);
  });

  test('causes a 503 while the keys cannot be fetched, and is accepted when they can', async () => {
    await provider(rsa);
    const settings = settingsOf();
    const token = await signed(rsa);
    const clock = vi.spyOn(Date, 'now');
    let moment = 0;
    for (const trouble of [
      async () => await Promise.reject(new Error('connection refused')),
      async () => new Response('down', { status: 502 }),
      async () => new Response('<html>', { status: 200 }),
      async () => Response.json({ keys: 'none' }),
    ]) {
      let asked = 0;
      keys = async () => {
        asked += 1;
        return await trouble();
      };
      moment += 2_000;
      clock.mockReturnValue(Date.parse('2026-11-20T12:00:00Z') + moment);
      const error = await refusal(token, settings);
      // Others do not wait for it meanwhile.
      await refusal(token, settings);
      expect(asked).toBe(1);
      expect(error).toMatchObject({ type: 'api_error', status: 503, logged: 'jwks_unavailable' });
      // No `x-should-retry: false`: official clients try again.
      expect(error.headers).toEqual({ 'retry-after': '5' });
      expect(error.message).not.toContain('login.example.com');
    }
    await serving(rsa);
    clock.mockReturnValue(Date.parse('2026-11-20T12:00:00Z') + moment + 2_000);
    expect((await verifyToken(token, settings, NOW)).account).toBe('user|1');
  });
});
