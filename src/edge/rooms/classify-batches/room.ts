import type { Room } from '../room.ts';

/** Classifications by batch. */
export const classifyBatchesRoom: Room = { name: 'classify-batches' };
