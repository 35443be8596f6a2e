import { settingsOf } from '../../gate/settings/settings.ts';
import { classificationStub } from '../../kit/objects/stubs.ts';
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
  account: {
    erase: async ({ env }, place) => {
      await classificationStub(env, settingsOf(env), place).erase();
      return true;
    },
  },
};
