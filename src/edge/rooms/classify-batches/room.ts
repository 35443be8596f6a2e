import { batchesRoom } from '../batches/room.ts';
import type { Room } from '../room.ts';
import { classificationsRoutes, classifyByBatch } from './classifications.route.ts';

/** Classifications by batch. */
export const classifyBatchesRoom: Room = {
  name: 'classify-batches',
  needs: [batchesRoom],
  routes: () => [classificationsRoutes()],
  bindings: { CLASSIFICATION: 'ClassificationJob' },
  classifyByBatch,
};
