import type { JWTPayload } from 'jose';
import type { Settings } from '../config/settings.ts';
import { type ApiError, createNonRetryableError } from '../kit/http/errors.ts';
import { isOmittedClaim } from './group-claim.ts';
import type { VerifiedToken } from './identity/caller.ts';
import { onlySchema, type TokenRestrictions } from './identity/only.ts';

/**
 * Reads the restrictions of a token from its claims: from the claim `only` in a token of this edge, and from JWT_ONLY_CLAIM in
 * a provider's token, which names agents in a list or a text with spaces.
 *
 * @returns undefined for a token that is not restricted
 * @throws ApiError 401 for a claim that cannot be read: otherwise, a token that should be restricted would not be
 */
export function readTokenRestrictionsFromClaims(
  claims: JWTPayload,
  issuer: VerifiedToken['issuer'],
  { JWT_ONLY_CLAIM: name, JWT_ONLY: otherwise }: Pick<Settings, 'JWT_ONLY_CLAIM' | 'JWT_ONLY'>,
): TokenRestrictions | undefined {
  if (issuer === 'edge') return claims.only === undefined ? undefined : parseTokenRestrictions('only', claims.only);
  if (name === undefined) return otherwise;
  if (isOmittedClaim(claims, name)) throw createRestrictionClaimError(name, 'is not in the token itself');
  const claim = claims[name];
  if (claim !== undefined) {
    return parseTokenRestrictions(name, {
      agents: typeof claim === 'string' ? claim.split(' ').filter((one) => one !== '') : claim,
    });
  }
  if (!otherwise) throw createRestrictionClaimError(name, 'is absent, and JWT_ONLY is not set for this case');
  return otherwise;
}

function parseTokenRestrictions(name: string, only: unknown): TokenRestrictions {
  const { data } = onlySchema.safeParse(only);
  if (!data) throw createRestrictionClaimError(name, 'cannot be read');
  return data;
}

function createRestrictionClaimError(claim: string, why: string): ApiError {
  return createNonRetryableError(
    'authentication_error',
    `The restrictions of this credential cannot be determined, because its claim \`${claim}\` ${why}. Ask the operator to correct the claim or the setting JWT_ONLY.`,
  );
}
