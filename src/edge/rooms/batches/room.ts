import type { Room } from '../room.ts';
import { batchesRoutes } from './batches.route.ts';

/** Batches of messages. */
export const batchesRoom: Room = {
  name: 'batches',
  routes: ({ fetch }) => [batchesRoutes(fetch)],
  bindings: { BATCH: 'Batch' },
};
