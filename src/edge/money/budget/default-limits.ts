/** The limits of accounts that have none of their own. */

import { isSourceAccount, isVisitor } from '../../auth/identity/identity.ts';
import type { Settings } from '../../config/settings.ts';
import type { Limits } from './limits.schema.ts';

/**
 * The most US dollars a day for an account that pays for webhooks, until the operator sets a limit. Its senders may be
 * strangers.
 */
const DEFAULT_WEBHOOK_USD_PER_DAY = 1;

/** The limits of a visitor that VISITORS does not set. */
const DEFAULT_VISITOR_LIMITS: Limits = {
  requests_per_minute: 20,
  concurrent_requests: 4,
  conversations: 10,
  stored_bytes: 10_000_000,
};

/** @returns the limits of an account that has none of its own. */
export function getDefaultLimits(
  account: string,
  { DEFAULT_LIMITS, VISITORS }: Pick<Settings, 'DEFAULT_LIMITS' | 'VISITORS'>,
): Limits {
  // Anyone can become a visitor without a login, so the default limits for users with a login would be too high.
  if (isVisitor(account)) return { ...DEFAULT_VISITOR_LIMITS, ...VISITORS?.limits };
  if (!isSourceAccount(account)) return DEFAULT_LIMITS;
  // DEFAULT_LIMITS are meant for users with a credential. Strangers can trigger a webhook's account, so limit what it spends in
  // a day.
  return {
    ...DEFAULT_LIMITS,
    usd_per_day: Math.min(DEFAULT_WEBHOOK_USD_PER_DAY, DEFAULT_LIMITS.usd_per_day ?? DEFAULT_WEBHOOK_USD_PER_DAY),
  };
}
