import type { Room } from '../room.ts';
import { tellOfKey } from './call-pool.ts';
import { Leases } from './leases/leases.ts';
import { DEPLOYMENT_ROUTES, deploymentPool, GROUP_ROUTES, SPENDER_ROUTES, toldByAll } from './pools.route.ts';
import { poolFamilies } from './spent-families.ts';
import { refuseSpent } from './spent-pools.ts';

/** Budgets that accounts share. */
export const poolsRoom: Room = {
  name: 'pools',
  routes: [...SPENDER_ROUTES, ...GROUP_ROUTES, ...DEPLOYMENT_ROUTES],
  beforeSpending: refuseSpent,
  bindings: { POOL: 'Pool' },
  metrics: poolFamilies,
  overview: (c) => deploymentPool(c)((pool) => pool.overview()),
  sharedBudgets: (state, around) => new Leases(state, around),
  keyNews: tellOfKey,
  allAccounts: toldByAll,
};
