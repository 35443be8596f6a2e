import type { Room } from '../room.ts';
import { poolFamilies } from './pool-families.ts';
import { poolsRoutes } from './pools.route.ts';

/** Budgets that accounts share. */
export const poolsRoom: Room = {
  name: 'pools',
  routes: () => [poolsRoutes()],
  bindings: { POOL: 'Pool' },
  metrics: poolFamilies,
};
