// In workerd: the cryptography is the runtime's.
import 'cloudflare:workers';

import fc from 'fast-check';
import { decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose';
import { expect, test } from 'vitest';
import { isAdminScope, SCOPES } from '#edge/auth/identity/identity.ts';
import { mintToken } from '#edge/auth/mint.ts';
import { isJwt } from '#edge/auth/verify.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';
import { SECRET } from '#test/support/tokens.ts';

const options = fc.record({
  account: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 }),
  scopes: fc.subarray([...SCOPES]),
  expiresIn: fc.option(fc.integer({ min: 1, max: 1e9 }), { nil: undefined }),
  label: fc.option(fc.string(), { nil: undefined }),
});

test('mints an HS256 JWT that contains only account, scopes, ID, dates and label', async () => {
  const now = Date.parse('2026-11-20T12:00:00.900Z');
  await tryAsyncCases(100, options, async (wanted) => {
    const { token, ...told } = await mintToken(SECRET, wanted, now);
    expect(isJwt(token)).toBe(true);
    expect(decodeProtectedHeader(token)).toEqual({ alg: 'HS256', typ: 'JWT' });
    const issued = Math.floor(now / 1_000);
    const lasts = wanted.expiresIn ?? (wanted.scopes.some(isAdminScope) ? 30 * 86_400 : undefined);
    const { payload } = await jwtVerify(token, new TextEncoder().encode(SECRET), { currentDate: new Date(now) });
    expect(payload).toEqual({
      sub: wanted.account,
      scope: wanted.scopes.join(' '),
      jti: told.jti,
      iat: issued,
      ...(lasts === undefined ? {} : { exp: issued + lasts }),
      ...(wanted.label === undefined ? {} : { label: wanted.label }),
    });
    expect(told).toEqual({
      jti: payload.jti,
      account: wanted.account,
      scopes: wanted.scopes,
      issued_at: issued,
      expires_at: payload.exp,
    });
  });
});

test('gives each token a different ID', async () => {
  const tokens = await Promise.all(
    Array.from({ length: 50 }, () => mintToken(SECRET, { account: 'a', scopes: ['messages'] })),
  );
  expect(new Set(tokens.map(({ token }) => decodeJwt(token).jti)).size).toBe(50);
});
