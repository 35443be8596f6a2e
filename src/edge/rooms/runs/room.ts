import type { Room } from '../room.ts';

/** Runs: the edge calls tools itself. */
export const runsRoom: Room = { name: 'runs' };
