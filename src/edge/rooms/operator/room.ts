import type { Room } from '../room.ts';

/** What operators look at: metrics, alerts, refusals. */
export const operatorRoom: Room = { name: 'operator' };
