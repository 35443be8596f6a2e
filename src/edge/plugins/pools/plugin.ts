import type { Plugin } from '../plugin.ts';
import { reportFailingTask } from './call-pool.ts';
import { Leases } from './leases/leases.ts';
import { ACCOUNT_LIST_ROUTES, DEPLOYMENT_ROUTES, GROUP_ROUTES, readOverview, toldByAll } from './pools.route.ts';
import { sharedFamilies } from './spent-families.ts';

/** Budgets that accounts share. */
export const pools: Plugin = {
  name: 'pools',
  routes: [...ACCOUNT_LIST_ROUTES, ...GROUP_ROUTES, ...DEPLOYMENT_ROUTES],
  bindings: { POOL: 'Pool' },
  metrics: sharedFamilies,
  overview: readOverview,
  sharedBudgets: (state, around) => new Leases(state, around),
  allAccounts: toldByAll,
  failingTasks: reportFailingTask,
};
