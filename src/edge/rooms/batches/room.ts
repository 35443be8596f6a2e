import type { Room } from '../room.ts';

/** Batches of messages. */
export const batchesRoom: Room = { name: 'batches' };
