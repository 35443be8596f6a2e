import type { AccountState } from '../../money/account/account-state.ts';
import { settleHold } from '../../money/account/settle-hold.ts';
import { BATCH_STAGE } from '../../money/budget/state.ts';
import { createDimensionValue } from '../../money/contracts/dimensions.ts';
import { OF_BATCH, OF_OUTCOMES } from './about-batch.ts';
import type { BatchSettlement } from './contracts/batch.ts';

/**
 * Settles the results of a batch: replaces its holds by the cost of its items. A repeated call changes nothing.
 *
 * @returns whether something has changed
 */
export function settleBatch(state: AccountState, { batch, rows, startedAt }: BatchSettlement): boolean {
  let isNew = false;
  for (const { outcomes, model, ...row } of rows) {
    const admittedFields = { route: 'batches', model, dimensions: createDimensionValue(OF_BATCH, batch) };
    const settled = settleHold(state, { ...row, stage: BATCH_STAGE, admittedFields, startedAt });
    if (settled.outcome === 'duplicate' || settled.outcome === 'erased') continue;
    isNew = true;
    if (outcomes) state.ledger.addDimensionsToRow(row.requestId, createDimensionValue(OF_OUTCOMES, outcomes));
  }
  return isNew;
}
