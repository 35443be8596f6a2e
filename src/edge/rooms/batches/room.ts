import type { Room } from '../room.ts';
import { BATCH_ROUTES } from './batches.route.ts';
import { batchesPart } from './part.ts';

/** Batches of messages. */
export const batchesRoom: Room = {
  name: 'batches',
  routes: BATCH_ROUTES,
  bindings: { BATCH: 'Batch' },
  account: batchesPart,
};
