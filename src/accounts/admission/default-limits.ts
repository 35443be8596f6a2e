import { isSourceAccount } from '../../identity/identity.ts';
import type { Limits } from '../../settings/limits.schema.ts';
import type { Settings } from '../../settings/settings.ts';

/** US dollars a day for an account that pays for webhooks, until the operator sets a limit: its senders are strangers. */
const MOST_A_DAY = 1;

/** @returns the limits that an account has where it has none of its own. */
export function defaultLimits(account: string, { DEFAULT_LIMITS }: Pick<Settings, 'DEFAULT_LIMITS'>): Limits {
  if (!isSourceAccount(account)) return DEFAULT_LIMITS;
  // DEFAULT_LIMITS are made for users who have a credential, and may be too generous for strangers.
  return { ...DEFAULT_LIMITS, usd_per_day: Math.min(MOST_A_DAY, DEFAULT_LIMITS.usd_per_day ?? MOST_A_DAY) };
}
