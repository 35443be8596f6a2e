import type { Room } from '../room.ts';
import { tellOfKey } from './call-pool.ts';
import { Leases } from './leases/leases.ts';
import { unlessPoolsSpent } from './spent-pools.ts';

/** Budgets that accounts share. */
export const poolsRoom: Room = {
  name: 'pools',
  sharedBudgets: (state, around) => new Leases(state, around),
  unlessSpent: unlessPoolsSpent,
  keyNews: tellOfKey,
};
