import type { JWTPayload } from 'jose';
import type { Settings } from '../config/settings.ts';
import { type ApiError, createNonRetryableError } from '../kit/http/errors.ts';
import { isObject } from '../kit/json/object.ts';
import type { VerifiedToken } from './identity/caller.ts';
import { isGroupName } from './identity/identity.ts';

type GroupSettings = Pick<Settings, 'JWT_GROUP_CLAIM' | 'JWT_GROUP_ORDER' | 'JWT_GROUP_DEFAULT'>;

/**
 * Reads from the claims of a token whose shared budget pays. In a provider's token a claim that cannot be read must not mean
 * that no budget is asked.
 *
 * @returns the group; undefined if the deployment asks for none, or the token has none
 * @throws ApiError 401 if the claim is there and names no single group
 */
export function resolveGroupFromClaims(
  claims: JWTPayload,
  issuer: VerifiedToken['issuer'],
  { JWT_GROUP_CLAIM: name, JWT_GROUP_ORDER: order, JWT_GROUP_DEFAULT: otherwise }: GroupSettings,
): string | undefined {
  if (name === undefined) return undefined;
  const claim = claims[name] ?? [];
  if (issuer === 'edge') return isGroupName(claim) ? claim : undefined;
  if (isOmittedClaim(claims, name)) throw createGroupClaimError(name, 'is not in the token itself');
  const groups: readonly unknown[] = [...new Set(Array.isArray(claim) ? claim : [claim])];
  if (groups.length === 0) return otherwise;
  if (!groups.every(isGroupName)) throw createGroupClaimError(name, 'must have names of 1 to 128 characters');
  const [first, ...more] = groups;
  if (more.length === 0) return first;
  if (order.length === 0)
    throw createGroupClaimError(name, 'names several groups, and JWT_GROUP_ORDER is not set to choose one');
  const wins = order.find((group) => groups.includes(group));
  if (wins === undefined)
    throw createGroupClaimError(name, 'names several groups, none of which is in JWT_GROUP_ORDER');
  return wins;
}

/** @returns whether a claim is not in the token itself: Microsoft Entra leaves out a list that is too long, and says so. */
export function isOmittedClaim({ _claim_names: elsewhere }: JWTPayload, name: string): boolean {
  return isObject(elsewhere) && Object.hasOwn(elsewhere, name);
}

function createGroupClaimError(claim: string, why: string): ApiError {
  return createNonRetryableError(
    'authentication_error',
    `The group of this credential cannot be determined, because its claim \`${claim}\` ${why}. Ask the operator to correct the claim, or the settings JWT_GROUP_ORDER and JWT_GROUP_DEFAULT.`,
  );
}
