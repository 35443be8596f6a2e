import type { JWTPayload } from 'jose';
import type { Settings } from '../config/settings.ts';
import { type ApiError, createNonRetryableError } from '../kit/http/errors.ts';
import { isObject } from '../kit/json/object.ts';
import type { VerifiedToken } from './identity/caller.ts';
import { isGroupName } from './identity/identity.ts';

/**
 * Reads from a token's claims the group whose shared budget pays. In a provider's token, a claim that does not name exactly one
 * group must not mean that no shared budget applies.
 *
 * @returns the group; undefined if no claim is configured, or the token does not contain the claim
 * @throws ApiError 401 if the claim does not name exactly one group
 */
export function resolveGroupFromClaims(
  claims: JWTPayload,
  issuer: VerifiedToken['issuer'],
  { JWT_GROUP_CLAIM: name }: Pick<Settings, 'JWT_GROUP_CLAIM'>,
): string | undefined {
  if (name === undefined) return undefined;
  const claim = claims[name] ?? [];
  if (issuer === 'edge') return isGroupName(claim) ? claim : undefined;
  if (isOmittedClaim(claims, name)) throw createGroupClaimError(name, 'is not in the token itself');
  const groups: readonly unknown[] = [...new Set(Array.isArray(claim) ? claim : [claim])];
  if (groups.length === 0) return undefined;
  if (!groups.every(isGroupName)) throw createGroupClaimError(name, 'must have names of 1 to 128 characters');
  const [group, ...others] = groups;
  if (others.length > 0) throw createGroupClaimError(name, 'names several groups');
  return group;
}

/**
 * @returns whether a claim is not in the token itself: Microsoft Entra omits a list that is too long, and names it in
 *   `_claim_names`.
 */
export function isOmittedClaim({ _claim_names: elsewhere }: JWTPayload, name: string): boolean {
  return isObject(elsewhere) && Object.hasOwn(elsewhere, name);
}

function createGroupClaimError(claim: string, why: string): ApiError {
  return createNonRetryableError(
    'authentication_error',
    `The group of this credential cannot be determined, because its claim \`${claim}\` ${why}. Ask the operator to send exactly one group in this claim, or to change JWT_GROUP_CLAIM.`,
  );
}
