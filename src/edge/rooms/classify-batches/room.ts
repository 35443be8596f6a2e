import { batchesRoom } from '../batches/room.ts';
import type { Room } from '../room.ts';
import { CLASSIFICATION_ROUTES, classifyByBatch } from './classifications.route.ts';
import { LabelsOfBatch } from './labels-of-batch.ts';

/** Classifications by batch. */
export const classifyBatchesRoom: Room = {
  name: 'classify-batches',
  needs: [batchesRoom],
  routes: CLASSIFICATION_ROUTES,
  classifyByBatch,
  batchLabels: (batch) => new LabelsOfBatch(batch),
};
