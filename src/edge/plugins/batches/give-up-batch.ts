/** Gives up a batch whose last byte was not sent. */

import { type AccountRequest, callAccount } from '../../money/contracts/call-account.ts';
import { type BatchKey, callBatch } from './call-batch.ts';
import type { BatchOpening, BatchSettlement } from './contracts/batch.ts';
import { rowsWithoutResults } from './poll-batch.ts';

interface GivenUp {
  place: BatchKey;
  request: AccountRequest;
  opening: BatchOpening;
  /** Whether something may have been set aside for it. */
  isHeld: boolean;
}

/**
 * Drops the batch, and releases its hold if the object does not: it may have given the batch up, and forgotten it, before the account
 * was asked.
 */
export async function giveUpBatch({ place, request, opening, isHeld }: GivenUp): Promise<void> {
  const isKnown = await callBatch(place, (batch) => batch.drop(isHeld), 'persistent');
  if (isKnown || !isHeld) return;
  const rows = rowsWithoutResults(opening, 'unsent', 0);
  const settlement: BatchSettlement = { batch: opening.id, rows, startedAt: Date.now() };
  const text = JSON.stringify(settlement);
  await callAccount(request, (account) => account.settleBatchJson(text), 'persistent');
}
