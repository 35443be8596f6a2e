/** Refuses visitors while their pool is spent. Everybody can be a visitor, any number of times, so this costs next to nothing. */

import type { Context, MiddlewareHandler, Next } from 'hono';
import type { AppEnv } from '../../auth/context.ts';
import { isVisitor } from '../../auth/identity/identity.ts';
import { usdToNanodollars } from '../../claude/pricing/cost.ts';
import type { Settings } from '../../config/settings.ts';
import { ApiError } from '../../kit/http/errors.ts';
import { createLimitRejectionError } from '../../money/admission/limit-headers.ts';
import { parseLimitingCause } from '../../money/admission/limitation.ts';
import { type BudgetWindow, isSharedBudget } from '../../money/budget/budget-windows.ts';
import { findEmptySharedBudgetRejection } from '../../money/budget/refusals.ts';
import { getUsdLimitName, NEVER, PERIODS } from '../../money/budget/windows.ts';
import { callPool } from './call-pool.ts';
import { DEPLOYMENT_POOL, parsePoolName, toGroupPoolName } from './pool-name.ts';

/** For how many milliseconds an isolate uses what it has read from a pool. An admin may raise the limit at any time. */
const KNOWN_MS = 60_000;

/** The state of the visitors' pools that an isolate has read: when, and which limits are used up. */
interface SpentPoolsSnapshot {
  at: number;
  empty: readonly BudgetWindow[];
}

const looks = new WeakMap<Settings, SpentPoolsSnapshot>();

/**
 * Rejects visitors while their pool is used up: no object is created for them, and an isolate reads the pool only once a
 * minute.
 *
 * @throws ApiError 429 that contains when the limit resets
 */
export const rejectVisitorsWhilePoolSpent: MiddlewareHandler<AppEnv> = (c, next) =>
  isVisitor(c.get('identity').account) ? rejectOrContinueVisitor(c, next) : next();

async function rejectOrContinueVisitor(c: Context<AppEnv>, next: Next): Promise<void> {
  const settings = c.get('settings');
  const now = Date.now();
  let look = looks.get(settings);
  if (!look || now < look.at || now >= look.at + KNOWN_MS || look.empty.some(({ end }) => end <= now)) {
    // Extend the old result, so that concurrent requests use it instead of reading the pools, too.
    if (look) looks.set(settings, { at: now, empty: look.empty.filter(({ end }) => end > now) });
    look = { at: now, empty: await findSpentVisitorPoolLimits(c, settings) };
    looks.set(settings, look);
  }
  const refusal = findEmptySharedBudgetRejection(look.empty, now);
  if (refusal) throw createLimitRejectionError(refusal, {});
  await next();
  // If a pool has rejected this request, the cached result is wrong. Delete it, so that the next request reads the pools.
  const { error } = c;
  const { by, passes } = error instanceof ApiError ? parseLimitingCause(error) : {};
  if (isSharedBudget(by) && passes !== 'soon') looks.delete(settings);
}

/** @returns the limits of the visitors' pools in which next to nothing is left */
async function findSpentVisitorPoolLimits({ env }: Context<AppEnv>, settings: Settings): Promise<BudgetWindow[]> {
  const { VISITORS, DEPLOYMENT_LIMITS } = settings;
  const names = [
    ...(VISITORS ? [toGroupPoolName(VISITORS.group)] : []),
    ...(DEPLOYMENT_LIMITS ? [DEPLOYMENT_POOL] : []),
  ];
  const windows = names.map(async (name) => {
    const standing = await callPool({ pools: env, settings, name }, (pool) => pool.getPoolQuotaReport());
    return PERIODS.flatMap((period) => {
      const { limit_usd: limit, spent_usd: spent, ...window } = standing[period];
      if (limit === null) return [];
      const end = 'resets_at' in window ? Date.parse(String(window.resets_at)) : NEVER;
      const sums = { limit: usdToNanodollars(limit), settled: usdToNanodollars(spent), held: 0 };
      return [{ by: parsePoolName(name).kind, name: getUsdLimitName(period), ...sums, end }];
    });
  });
  return (await Promise.all(windows)).flat().filter((window) => findEmptySharedBudgetRejection([window], 0));
}
