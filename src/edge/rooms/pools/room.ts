import type { Room } from '../room.ts';
import { POOL_ROUTES } from './pools.route.ts';
import { refuseSpent } from './spent-pools.ts';

/** Budgets that accounts share. */
export const poolsRoom: Room = { name: 'pools', routes: POOL_ROUTES, beforeSpending: refuseSpent };
