import type { Room } from '../room.ts';
import { Leases } from './leases/leases.ts';

/** Budgets that accounts share. */
export const poolsRoom: Room = {
  name: 'pools',
  sharedBudgets: (account, around) => new Leases(account, around),
};
