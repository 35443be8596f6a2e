/** Runs the pending tasks of a batch, and deletes the batch's rows when nothing is left to do. */

import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../kit/async/durations.ts';
import { sendAlertToInbox } from '../../money/alerts/alert-outbox.ts';
import { createMissingBatchAlert, createUnknownBatchAlert } from '../../money/alerts/create-alert.ts';
import type { BatchJournalStore } from './batch-record.ts';
import { type BatchObligation, type Journal, RESULTS_MS, toMessageBatch } from './journal.ts';
import { createRowsWithoutResults } from './poll-batch.ts';
import { BatchCallFailedError } from './upstream-batches.ts';

/** Milliseconds for which a rejection is kept for callers that send the same request again. */
const REFUSAL_MS = 10 * MINUTE_MS;
/** The operator is alerted about a batch that the upstream has not known for this time. Milliseconds. */
const MISSING_MS = HOUR_MS;

/** How each debt is paid, in this order. Each may be paid twice. */
const PAY: Readonly<Record<BatchObligation, (record: BatchJournalStore, journal: Journal) => Promise<void>>> = {
  alert: ({ env, now }, { id, account }) =>
    sendAlertToInbox(env, { ...createUnknownBatchAlert(account, id, now), account }),
  missing: ({ env, now }, { id, account }) =>
    sendAlertToInbox(env, { ...createMissingBatchAlert(account, id, now), account }),
  cancel: cancelBatchAtUpstream,
  release: releaseUnmadeBatchHold,
  report: async (record, journal) => {
    const shown = toMessageBatch(journal, record.now);
    await record.callOwnerAccount((account) => account.noteBatch(journal.id, shown));
  },
};

/**
 * Runs the tasks that are due, and deletes the rows of a batch that has none left. Never rejects: the alarm repeats failed
 * tasks.
 */
export async function runDuePendingTasks(record: BatchJournalStore): Promise<void> {
  let isDone = true;
  for (const [debt, pay] of Object.entries(PAY) as [BatchObligation, (typeof PAY)[BatchObligation]][]) {
    const { currentJournal: journal, now } = record;
    // Read the journal again in each round: the batch may have been deleted during an await.
    if (!journal?.owes.includes(debt) || now < computeTaskDueTime(debt, journal)) continue;
    const isPaid = await record.tryTask('batch_task', async () => {
      await pay(record, journal);
      record.removePendingTask(debt, journal);
    });
    isDone &&= isPaid;
  }
  const hasChecked = await record.tryTask('batch_task', () => forgetIfDone(record));
  if (isDone && hasChecked) record.recordSuccess('batch_task');
}

async function forgetIfDone(record: BatchJournalStore): Promise<void> {
  const { currentJournal: journal, now } = record;
  if (!journal || journal.owes.length > 0 || now < computeForgetTime(record, journal)) return;
  const { id, phase, isErased, upstreamId } = journal;
  if (phase === 'ended') {
    if (isErased && upstreamId !== undefined) await record.upstreamClient.deleteBatch(upstreamId);
    await record.callOwnerAccount((account) => account.noteBatch(id, null));
  }
  await record.deleteJournal();
}

/** @returns from when on a debt can be paid; milliseconds since 1970 */
export function computeTaskDueTime(
  debt: BatchObligation,
  { missingSince = Number.POSITIVE_INFINITY, upstreamId }: Journal,
): number {
  if (debt === 'missing') return missingSince + MISSING_MS;
  return debt === 'cancel' && upstreamId === undefined ? Number.POSITIVE_INFINITY : 0;
}

/** @returns when a batch is forgotten that owes nothing; milliseconds since 1970 @throws ApiError for unreadable settings */
export function computeForgetTime(record: BatchJournalStore, journal: Journal): number {
  const { phase, createdAt, endedAt = createdAt, isErased } = journal;
  if (phase === 'unsent' || (phase === 'ended' && isErased)) return 0;
  if (phase === 'refused') return endedAt + REFUSAL_MS;
  if (phase !== 'ended') return Number.POSITIVE_INFINITY;
  return Math.max(createdAt + RESULTS_MS, endedAt + record.settings.RETENTION_DAYS * DAY_MS);
}

/** Cancels the batch at the upstream. */
async function cancelBatchAtUpstream(
  { upstreamClient: calls }: BatchJournalStore,
  { upstreamId = '' }: Journal,
): Promise<void> {
  try {
    await calls.cancelBatch(upstreamId);
  } catch (thrown) {
    // Ignore a 4xx: the batch has already ended, or was deleted at the upstream. The next poll handles both cases.
    if (!(thrown instanceof BatchCallFailedError && thrown.status >= 400 && thrown.status < 500)) throw thrown;
  }
}

/** Releases the hold of a batch that was never made. */
async function releaseUnmadeBatchHold(record: BatchJournalStore, journal: Journal): Promise<void> {
  const { id, phase, createdAt: startedAt } = journal;
  const rows = createRowsWithoutResults(journal, phase === 'refused' ? 'refused_upstream' : 'unsent', 0);
  const text = JSON.stringify({ batch: id, rows, startedAt });
  await record.callOwnerAccount((account) => account.settleBatchJson(text));
  if (phase !== 'ended') await record.callOwnerAccount((account) => account.noteBatch(id, null));
}
