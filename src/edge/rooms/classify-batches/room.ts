import type { Room } from '../room.ts';
import { CLASSIFICATION_ROUTES, classifyByBatch } from './classifications.route.ts';

/** Classifications by batch. */
export const classifyBatchesRoom: Room = { name: 'classify-batches', routes: CLASSIFICATION_ROUTES, classifyByBatch };
