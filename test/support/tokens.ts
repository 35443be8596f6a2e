import type { Scope } from '#edge/auth/identity/identity.ts';
import { type MintOptions, mintToken } from '#edge/auth/mint.ts';

/** The SIGNING_SECRET of the tests. */
export const SECRET = 'the-signing-secret-of-the-tests-only';

/** An edge as it is deployed, for `testApp`: no development, and a secret of its own. */
export const DEPLOYED_VARS = { MODE: '', SIGNING_SECRET: SECRET };

/** @returns a credential of the tests' edge. */
export async function createToken(
  account: string,
  scopes: readonly Scope[] = ['messages'],
  more: Partial<MintOptions> = {},
): Promise<string> {
  return (await mintToken(SECRET, { account, scopes, ...more })).token;
}

/** @returns the header that carries a credential as new official clients send it. */
export function bearerHeader(token: string): Record<string, string> {
  return { authorization: `Bearer ${token}` };
}
