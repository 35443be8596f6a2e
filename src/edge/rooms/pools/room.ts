import type { Room } from '../room.ts';
import { Leases } from './leases/leases.ts';
import { DEPLOYMENT_ROUTES, GROUP_ROUTES, overviewOfAll, SPENDER_ROUTES, toldByAll } from './pools.route.ts';
import { poolFamilies } from './spent-families.ts';

/** Budgets that accounts share. */
export const poolsRoom: Room = {
  name: 'pools',
  routes: [...SPENDER_ROUTES, ...GROUP_ROUTES, ...DEPLOYMENT_ROUTES],
  bindings: { POOL: 'Pool' },
  metrics: poolFamilies,
  overview: overviewOfAll,
  sharedBudgets: (state, around) => new Leases(state, around),
  allAccounts: toldByAll,
};
