/** Polls the upstream for the state of a batch, and settles the batch's results when it has ended. */

import { getModelTableOfUpstream, isUpstreamClaudeApi } from '../../claude/upstreams/prices.ts';
import type { CreatedId } from '../../claude/usage/created-ids.ts';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../kit/async/durations.ts';
import type { BatchJournalStore } from './batch-record.ts';
import type { BatchSettlementRow } from './contracts/batch.ts';
import { scheduleFirstDelivery } from './deliver-end.ts';
import { type BatchObligation, countBatchItems, type Journal, NO_OUTCOMES } from './journal.ts';
import { type ResultSums, sumBatchResults } from './read-results.ts';
import { isBatchUnknownError } from './upstream-batches.ts';

/** If the upstream has not known a batch for this time, it is settled at its hold. Milliseconds. */
export const FORGOTTEN_MS = 30 * DAY_MS;

/** The first pause before results are read again after a failure. Each failure doubles it. Milliseconds. */
const FREE_MISREADS = 3;
const READ_PAUSE_MS = MINUTE_MS;
const MOST_READ_PAUSE_MS = 6 * HOUR_MS;

/** Polls the upstream, and settles the batch if it has ended. */
export async function pollBatch(record: BatchJournalStore, journal: Journal): Promise<void> {
  const { upstreamId = '', closingAt = journal.createdAt } = journal;
  let sums: ResultSums;
  try {
    const { status } = await record.upstreamClient.retrieveBatch(upstreamId);
    if (status !== 'ended') return clearMissing(record);
    sums = await readResultSumsWithBackoff(record, journal, upstreamId);
  } catch (thrown) {
    if (!isBatchUnknownError(thrown)) throw thrown;
    markMissing(record);
    if (record.now <= closingAt + FORGOTTEN_MS) throw thrown;
    // The upstream does not know the batch any more, so its actual cost cannot be read. Settle the whole hold.
    return await settleAtWholeHold(record);
  }
  // Re-check after the await: the batch may have been deleted while its results were read.
  if (!record.currentJournal) return;
  const rows = sums.rows.map((sum): BatchSettlementRow => ({ ...sum, status: 'complete', upstream: journal.upstream }));
  await settleAndEndBatch(record, rows, sums);
}

/** Records that the upstream knows the batch. For a batch that was missing, the operator is alerted once. */
function clearMissing(record: BatchJournalStore): void {
  const { owes = [] } = record.currentJournal ?? {};
  if (owes.includes('missing'))
    record.updateJournal({ missingSince: undefined, owes: owes.filter((debt) => debt !== 'missing') });
}

function markMissing(record: BatchJournalStore): void {
  if (record.currentJournal?.missingSince === undefined)
    record.addPendingTasks(['missing'], { missingSince: record.now });
}

/** Reads the results as `readResultSums` does. If that fails again and again, the pauses become longer. */
async function readResultSumsWithBackoff(
  record: BatchJournalStore,
  journal: Journal,
  upstreamId: string,
): Promise<ResultSums> {
  try {
    const sums = await readResultSums(record, upstreamId);
    const items = countBatchItems(journal);
    if (sums.items !== items) throw new Error(`${sums.items} of ${items} results`);
    return sums;
  } catch (thrown) {
    const failures = (record.currentJournal?.rereading?.failures ?? 0) + 1;
    const pauseMs = Math.min(MOST_READ_PAUSE_MS, READ_PAUSE_MS * 2 ** (failures - FREE_MISREADS - 1));
    record.updateJournal({ rereading: { failures, nextAt: failures > FREE_MISREADS ? record.now + pauseMs : 0 } });
    throw thrown;
  }
}

/** Reads all results of a batch at the upstream, and records the ids in them. */
async function readResultSums(record: BatchJournalStore, upstreamId: string): Promise<ResultSums> {
  const { settings, currentJournal: journal } = record;
  if (!journal) throw new Error('The batch was deleted in the meantime.');
  const answered = await record.upstreamClient.requestResults(upstreamId);
  const models = getModelTableOfUpstream(settings, journal.upstream).copyWithPrices(journal.prices);
  const { makesThings, isErased, upstream = '' } = journal;
  const recordCreatedIds = async (ids: readonly CreatedId[]) => {
    // Record nothing for an account that was erased while the results were read.
    if (record.currentJournal?.isErased) return;
    await record.callOwnerAccount((account) =>
      account.recordCreatedResources(ids.map((one) => ({ ...one, upstream }))),
    );
  };
  return await sumBatchResults(answered, journal, {
    models,
    isClaudeApi: isUpstreamClaudeApi(settings, journal.upstream),
    note: makesThings && !isErased ? recordCreatedIds : undefined,
  });
}

/** Books the hold of a batch as its cost, because the real cost is not known any more. */
export async function settleAtWholeHold(record: BatchJournalStore): Promise<void> {
  const { currentJournal: journal } = record;
  if (!journal) return;
  const held = journal.rows.reduce((sum, { hold }) => sum + hold, 0);
  const outcomes = { ...NO_OUTCOMES, errored: countBatchItems(journal) };
  await settleAndEndBatch(record, createRowsWithoutResults(journal, 'unknown', 1), { outcomes, cost: held });
}

/** Settles the results with the account, then stores that the batch has ended. After a crash in between, it settles again. */
async function settleAndEndBatch(
  record: BatchJournalStore,
  rows: BatchSettlementRow[],
  { outcomes, cost }: Pick<ResultSums, 'outcomes' | 'cost'>,
): Promise<void> {
  const { id: batch, createdAt: startedAt } = record.currentJournal ?? {};
  const text = JSON.stringify({ batch, rows, startedAt });
  await record.callOwnerAccount((account) => account.settleBatchJson(text));
  markBatchEnded(record, { outcomes, cost });
}

/**
 * Stores that a batch has ended, and that its end must be delivered. @param owed the pending tasks, if they are not the usual
 * ones
 */
export function markBatchEnded(
  record: BatchJournalStore,
  more: Pick<Journal, 'outcomes' | 'cost'>,
  owed?: readonly BatchObligation[],
): void {
  const { currentJournal: journal, now } = record;
  const delivery = journal?.isErased ? {} : scheduleFirstDelivery(record);
  record.enterPhase('ended', { endedAt: now, ...more, ...delivery }, owed);
}

/** @returns the settlement rows of a batch without results. @param share 1 books its hold, 0 nothing */
export function createRowsWithoutResults(
  journal: Pick<Journal, 'upstream' | 'rows'>,
  status: string,
  share: 0 | 1,
): BatchSettlementRow[] {
  const { upstream, rows } = journal;
  return rows.map(({ requestId, model, hold }) => ({
    requestId,
    model,
    status,
    cost: hold * share,
    estimated: share === 1,
    tokens: {},
    outcomes: null,
    upstream,
  }));
}
