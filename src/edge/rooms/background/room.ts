import type { Room } from '../room.ts';

/** Turns in the background. */
export const backgroundRoom: Room = { name: 'background' };
