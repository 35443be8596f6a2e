import type { Room } from '../room.ts';

/** Files of accounts. */
export const filesRoom: Room = { name: 'files' };
