import { parseSettingsOnce } from '../../config/settings.ts';
import { getBatchStub } from '../../durable/stubs.ts';
import { type AccountPlugin, notifySumsChanged } from '../../money/account/hooks.ts';
import type { Plugin } from '../plugin.ts';
import { OF_BATCH, OF_OUTCOMES } from './about-batch.ts';
import { admitBatch } from './admit-batch.ts';
import { BatchList } from './batch-list.ts';
import { BATCH_ROUTES, CLASSIFICATION_ROUTES } from './batches.route.ts';
import { classifyByBatch } from './classify-by-batch.ts';
import type { BatchAdmissionRequest, BatchSettlement } from './contracts/batch.ts';
import { settleBatch } from './settle-batch.ts';

/** What batches have in an account: they are admitted and settled there, and listed. */
const batchesPart: AccountPlugin = {
  methods: {
    admitBatchJson: (state, order) => {
      const decision = admitBatch(state, JSON.parse(order) as BatchAdmissionRequest);
      return decision instanceof Promise
        ? decision.then((decided) => JSON.stringify(decided))
        : JSON.stringify(decision);
    },
    settleBatchJson: (state, settlement) => {
      if (settleBatch(state, JSON.parse(settlement) as BatchSettlement)) notifySumsChanged(state);
    },
    noteBatch: ({ ledger }, id, report) => {
      const batches = new BatchList(ledger);
      if (report) batches.storeBatchReport(report);
      else batches.deleteRow(id);
    },
    batches: ({ ledger }, page) => new BatchList(ledger).listBatches(page),
  },
  listKept: ({ ledger }) => new BatchList(ledger),
  // Return true as soon as the batch has stored its erasure. If the batch runs at the upstream, it is cancelled first, and
  // settled once it has ended.
  erase: ({ env }, place) =>
    getBatchStub(env, parseSettingsOnce(env), place)
      .erase()
      .then(() => true),
};

/** Batches of messages, and classifications by batch. */
export const batches: Plugin = {
  name: 'batches',
  routes: [...BATCH_ROUTES, ...CLASSIFICATION_ROUTES],
  classifyByBatch,
  bindings: { BATCH: 'Batch' },
  account: batchesPart,
  dimensions: [OF_BATCH, OF_OUTCOMES],
};
