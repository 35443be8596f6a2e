/** Gives up a batch whose last byte was not sent. */

import { type AccountTarget, callAccount } from '../../money/contracts/call-account.ts';
import { type BatchKey, callBatch } from './call-batch.ts';
import type { BatchSettlement, InitialBatchData } from './contracts/batch.ts';
import { createRowsWithoutResults } from './poll-batch.ts';

interface BatchToGiveUp {
  place: BatchKey;
  request: AccountTarget;
  opening: InitialBatchData;
  /** Whether something may have been set aside for it. */
  isHeld: boolean;
}

/**
 * Drops the batch, and releases its hold if the object does not: the object may have given up the batch, and deleted it, before
 * the account was called.
 */
export async function giveUpBatch({ place, request, opening, isHeld }: BatchToGiveUp): Promise<void> {
  const isKnown = await callBatch(place, (batch) => batch.giveUpUnsentBatch(isHeld), 'persistent');
  if (isKnown || !isHeld) return;
  const rows = createRowsWithoutResults(opening, 'unsent', 0);
  const settlement: BatchSettlement = { batch: opening.id, rows, startedAt: Date.now() };
  const text = JSON.stringify(settlement);
  await callAccount(request, (account) => account.settleBatchJson(text), 'persistent');
}
