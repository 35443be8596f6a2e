import type { Plugin } from '../plugin.ts';
import { reportFailing } from './call-pool.ts';
import { Leases } from './leases/leases.ts';
import { ACCOUNT_LIST_ROUTES, DEPLOYMENT_ROUTES, GROUP_ROUTES, overviewOfAll, toldByAll } from './pools.route.ts';
import { poolFamilies } from './spent-families.ts';

/** Budgets that accounts share. */
export const pools: Plugin = {
  name: 'pools',
  routes: [...ACCOUNT_LIST_ROUTES, ...GROUP_ROUTES, ...DEPLOYMENT_ROUTES],
  bindings: { POOL: 'Pool' },
  metrics: poolFamilies,
  overview: overviewOfAll,
  sharedBudgets: (state, around) => new Leases(state, around),
  allAccounts: toldByAll,
  failingTasks: reportFailing,
};
