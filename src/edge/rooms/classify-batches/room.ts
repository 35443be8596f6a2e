import { batchesRoom } from '../batches/room.ts';
import type { Room } from '../room.ts';
import { CLASSIFICATION_ROUTES, classifyByBatch } from './classifications.route.ts';

/** Classifications by batch. */
export const classifyBatchesRoom: Room = {
  name: 'classify-batches',
  needs: [batchesRoom],
  routes: CLASSIFICATION_ROUTES,
  bindings: { CLASSIFICATION: 'ClassificationJob' },
  classifyByBatch,
};
