import type { Room } from '../room.ts';

/** Budgets that accounts share. */
export const poolsRoom: Room = { name: 'pools' };
