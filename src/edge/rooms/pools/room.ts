import type { Room } from '../room.ts';
import { Leases } from './leases/leases.ts';
import { DEPLOYMENT_ROUTES, deploymentPool, GROUP_ROUTES, SPENDER_ROUTES, toldByAll } from './pools.route.ts';
import { poolFamilies } from './spent-families.ts';

/** Budgets that accounts share. */
export const poolsRoom: Room = {
  name: 'pools',
  routes: [...SPENDER_ROUTES, ...GROUP_ROUTES, ...DEPLOYMENT_ROUTES],
  bindings: { POOL: 'Pool' },
  metrics: poolFamilies,
  overview: (c) => deploymentPool(c)((pool) => pool.overview()),
  sharedBudgets: (state, around) => new Leases(state, around),
  allAccounts: toldByAll,
};
