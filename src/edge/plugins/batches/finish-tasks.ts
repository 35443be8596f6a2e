/** Pays what a batch owes, and forgets it when nothing is left to do. */

import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../kit/async/durations.ts';
import { sendAlert } from '../../money/alerts/alert-outbox.ts';
import { missingBatchAlert, unknownBatchAlert } from '../../money/budget/thresholds.ts';
import type { BatchRecord } from './batch-record.ts';
import { batchOf, type Journal, type PendingTask, RESULTS_MS } from './journal.ts';
import { rowsWithoutResults } from './poll-batch.ts';
import { BatchCallFailed } from './upstream-batches.ts';

/** Milliseconds for which a refusal is kept for callers who send the same again. */
const REFUSAL_MS = 10 * MINUTE_MS;
/** The operator is told of a batch that the upstream has not known for this time. Milliseconds. */
const MISSING_MS = HOUR_MS;

/** How each debt is paid, in this order. Each may be paid twice. */
const PAY: Readonly<Record<PendingTask, (record: BatchRecord, journal: Journal) => Promise<void>>> = {
  alert: ({ env, now }, { id, account }) => sendAlert(env, { ...unknownBatchAlert(account, id, now), account }),
  missing: ({ env, now }, { id, account }) => sendAlert(env, { ...missingBatchAlert(account, id, now), account }),
  cancel,
  release,
  report: async (record, journal) => {
    const shown = batchOf(journal, record.now);
    await record.account((account) => account.noteBatch(journal.id, shown));
  },
};

/** Pays what is due now, and forgets a batch of which nothing is left. A debt that cannot be paid is paid later. */
export async function finishTasks(record: BatchRecord): Promise<void> {
  for (const [debt, pay] of Object.entries(PAY) as [PendingTask, (typeof PAY)[PendingTask]][]) {
    const { journal, now } = record;
    // It may have been forgotten during a wait.
    if (!journal?.owes.includes(debt) || now < dueAt(debt, journal)) continue;
    await record.try(async () => {
      await pay(record, journal);
      record.noteDone(debt, journal);
    });
  }
  const { journal, now } = record;
  if (!journal || journal.owes.length > 0 || now < forgetAt(record, journal)) return;
  const { id, phase, isErased, upstreamId } = journal;
  if (phase === 'ended') {
    if (isErased && upstreamId !== undefined) await record.calls.remove(upstreamId);
    await record.account((account) => account.noteBatch(id, null));
  }
  await record.forget();
}

/** @returns from when on a debt can be paid; milliseconds since 1970 */
export function dueAt(debt: PendingTask, { missingSince = Number.POSITIVE_INFINITY, upstreamId }: Journal): number {
  if (debt === 'missing') return missingSince + MISSING_MS;
  return debt === 'cancel' && upstreamId === undefined ? Number.POSITIVE_INFINITY : 0;
}

/** @returns when a batch is forgotten that owes nothing; milliseconds since 1970 @throws ApiError for unreadable settings */
export function forgetAt(record: BatchRecord, journal: Journal): number {
  const { phase, createdAt, endedAt = createdAt, isErased } = journal;
  if (phase === 'unsent' || (phase === 'ended' && isErased)) return 0;
  if (phase === 'refused') return endedAt + REFUSAL_MS;
  if (phase !== 'ended') return Number.POSITIVE_INFINITY;
  return Math.max(createdAt + RESULTS_MS, endedAt + record.settings.RETENTION_DAYS * DAY_MS);
}

/** Asks the upstream to cancel the batch. */
async function cancel({ calls }: BatchRecord, { upstreamId = '' }: Journal): Promise<void> {
  try {
    await calls.cancel(upstreamId);
  } catch (thrown) {
    // It has already ended, or is gone. The next poll will see that.
    if (!(thrown instanceof BatchCallFailed && thrown.status >= 400 && thrown.status < 500)) throw thrown;
  }
}

/** Releases the hold of a batch that was never made. */
async function release(record: BatchRecord, journal: Journal): Promise<void> {
  const { id, phase, createdAt: startedAt } = journal;
  const rows = rowsWithoutResults(journal, phase === 'refused' ? 'refused_upstream' : 'unsent', 0);
  const text = JSON.stringify({ batch: id, rows, startedAt });
  await record.account((account) => account.settleBatchJson(text));
  if (phase !== 'ended') await record.account((account) => account.noteBatch(id, null));
}
