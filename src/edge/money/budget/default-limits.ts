/** The limits of accounts that have none of their own. */

import { isSourceAccount, isVisitor } from '../../auth/identity/identity.ts';
import type { Settings } from '../../config/settings.ts';
import type { Limits } from './limits.schema.ts';

/**
 * The most US dollars a day for an account that pays for webhooks, until the operator sets a limit. Its senders may be
 * strangers.
 */
const MOST_A_DAY = 1;

/** The limits of a visitor that VISITORS does not set. */
const OF_A_VISITOR: Limits = {
  requests_per_minute: 20,
  concurrent_requests: 4,
  conversations: 10,
  stored_bytes: 10_000_000,
};

/** @returns the limits of an account that has none of its own. */
export function defaultLimits(
  account: string,
  { DEFAULT_LIMITS, VISITORS }: Pick<Settings, 'DEFAULT_LIMITS' | 'VISITORS'>,
): Limits {
  // What is enough for a user with a login is too much for a stranger.
  if (isVisitor(account)) return { ...OF_A_VISITOR, ...VISITORS?.limits };
  if (!isSourceAccount(account)) return DEFAULT_LIMITS;
  // DEFAULT_LIMITS are for users with a credential, and may be too high for strangers.
  return { ...DEFAULT_LIMITS, usd_per_day: Math.min(MOST_A_DAY, DEFAULT_LIMITS.usd_per_day ?? MOST_A_DAY) };
}
