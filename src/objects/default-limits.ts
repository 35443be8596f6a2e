import { isSourceAccount } from '../schemas/identity.ts';
import type { Limits } from '../schemas/limits.ts';
import type { Settings } from '../settings.ts';

/** What strangers can have an operator pay for webhooks in a day, until that operator says otherwise. */
const SOURCE_LIMITS: Limits = { usd_per_day: 1 };

/** @returns the limits that an account has where it has none of its own. */
export function defaultLimits(account: string, { DEFAULT_LIMITS }: Pick<Settings, 'DEFAULT_LIMITS'>): Limits {
  return isSourceAccount(account) ? { ...SOURCE_LIMITS, ...DEFAULT_LIMITS } : DEFAULT_LIMITS;
}
