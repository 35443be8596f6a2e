import type { Plugin } from '../plugin.ts';
import { reportFailingTask } from './call-pool.ts';
import { AccountLeases } from './leases/leases.ts';
import { ACCOUNT_LIST_ROUTES, DEPLOYMENT_ROUTES, GROUP_ROUTES, readOverview, toldByAll } from './pools.route.ts';
import { readDeploymentMetricFamilies } from './spent-families.ts';

/** Budgets that accounts share. */
export const pools: Plugin = {
  name: 'pools',
  routes: [...ACCOUNT_LIST_ROUTES, ...GROUP_ROUTES, ...DEPLOYMENT_ROUTES],
  bindings: { POOL: 'Pool' },
  metrics: readDeploymentMetricFamilies,
  overview: readOverview,
  sharedBudgets: (state, around) => new AccountLeases(state, around),
  allAccounts: toldByAll,
  failingTasks: reportFailingTask,
};
