/** Tidies up a batch: releases unneeded holds, reports its state, and forgets it when nothing is left to do. */

import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../kit/async/durations.ts';
import { sendAlert } from '../../money/alerts/alert-outbox.ts';
import { missingBatchAlert, unknownBatchAlert } from '../../money/budget/thresholds.ts';
import type { BatchRecord } from './batch-record.ts';
import { batchOf, isOpen, type Journal, RESULTS_MS } from './journal.ts';
import { rowsWithoutResults } from './poll-batch.ts';

/** Milliseconds for which a refusal is kept for callers who send the same again. */
export const REFUSAL_MS = 10 * MINUTE_MS;

/** Does all work that is due now. Each part may run twice, and the batch may be forgotten during a wait. */
export async function tidyBatch(record: BatchRecord): Promise<void> {
  await alertOfUnknown(record);
  await alertOfMissing(record);
  await release(record);
  await report(record);
  const { journal, now } = record;
  if (!journal) return;
  const { id, phase, isErased, isReleased, endedAt = 0, upstreamId } = journal;
  if (phase === 'ended' && isErased && upstreamId !== undefined) await record.calls.remove(upstreamId);
  if (phase === 'ended' && (isErased || now >= keptUntil(record, journal))) {
    await record.account((account) => account.noteBatch(id, null));
    await record.forget();
  } else if (phase === 'unsent' && isReleased) await record.forget();
  else if (phase === 'refused' && isReleased && now >= endedAt + REFUSAL_MS) await record.forget();
}

/** @returns until when an ended batch is kept, in milliseconds since 1970. @throws ApiError for unreadable settings */
export function keptUntil(record: BatchRecord, { createdAt, endedAt = createdAt }: Journal): number {
  return Math.max(createdAt + RESULTS_MS, endedAt + record.settings.RETENTION_DAYS * DAY_MS);
}

/** Tells the operator that nobody knows whether a batch was made. */
async function alertOfUnknown(record: BatchRecord): Promise<void> {
  const { id = '', account = '', phase, isAlerted, isErased } = record.journal ?? {};
  if (phase !== 'unknown' || isAlerted || isErased) return;
  await sendAlert(record.env, { ...unknownBatchAlert(account, id, record.now), account });
  record.change({ isAlerted: true });
}

/** Tells the operator that the upstream has not known a batch for an hour. It is asked for on for a month. */
async function alertOfMissing(record: BatchRecord): Promise<void> {
  const { id = '', account = '', phase, missingSince, isMissingAlerted, isErased } = record.journal ?? {};
  if (phase !== 'running' || missingSince === undefined || isMissingAlerted || isErased) return;
  if (record.now < missingSince + HOUR_MS) return;
  await sendAlert(record.env, { ...missingBatchAlert(account, id, record.now), account });
  record.change({ isMissingAlerted: true });
}

/** Releases the hold of a batch that was never made. */
async function release(record: BatchRecord): Promise<void> {
  const { journal } = record;
  if (!journal || journal.isReleased) return;
  const { id, phase, createdAt: startedAt } = journal;
  const isVoid = phase === 'refused' || phase === 'unsent' || (phase === 'ended' && journal.upstreamId === undefined);
  if (!isVoid) return;
  const rows = rowsWithoutResults(journal, phase === 'refused' ? 'refused_upstream' : 'unsent', 0);
  const text = JSON.stringify({ batch: id, rows, startedAt });
  await record.account((account) => account.settleBatchJson(text));
  if (phase !== 'ended') await record.account((account) => account.noteBatch(id, null));
  record.change({ isReleased: true });
}

/** Reports the state of the batch to the account, for its list. */
async function report(record: BatchRecord): Promise<void> {
  const { journal, now } = record;
  if (journal?.isReported !== false || journal.isErased) return;
  const { id, phase, cancelAt } = journal;
  if (phase !== 'ended' && !isOpen(journal)) return;
  const shown = batchOf(journal, now);
  await record.account((account) => account.noteBatch(id, shown));
  const { journal: latest } = record;
  if (latest?.phase === phase && latest.cancelAt === cancelAt) record.change({ isReported: true });
}
