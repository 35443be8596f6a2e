import { isSourceAccount } from '../../identity/identity.ts';
import type { Limits } from '../../settings/limits.schema.ts';
import type { Settings } from '../../settings/settings.ts';

/** US dollars that strangers can have an operator pay for webhooks in a day, until that operator says otherwise. */
const MOST_A_DAY = 1;

/** @returns the limits that an account has where it has none of its own. */
export function defaultLimits(account: string, { DEFAULT_LIMITS }: Pick<Settings, 'DEFAULT_LIMITS'>): Limits {
  if (!isSourceAccount(account)) return DEFAULT_LIMITS;
  // What users of this edge may spend says nothing of what strangers may have it spend.
  return { ...DEFAULT_LIMITS, usd_per_day: Math.min(MOST_A_DAY, DEFAULT_LIMITS.usd_per_day ?? MOST_A_DAY) };
}
