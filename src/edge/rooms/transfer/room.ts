import type { Room } from '../room.ts';

/** Copies, imports and exports of conversations. */
export const transferRoom: Room = { name: 'transfer' };
