/**
 * Decides when to settle the hold of a batch for which it is unknown whether it was created. The create request is never sent
 * again.
 */

import { HOUR_MS, MINUTE_MS } from '../../kit/async/durations.ts';
import type { BatchJournalStore } from './batch-record.ts';
import { countBatchItems, type Journal, NO_OUTCOMES } from './journal.ts';
import { FORGOTTEN_MS, markBatchEnded, settleAtWholeHold } from './poll-batch.ts';

/** Milliseconds by which the upstream's clock may differ from this one, and that it may take to make a batch. */
const CLOCK_MS = 2 * MINUTE_MS;
const MAKING_MS = 15 * MINUTE_MS;
/** After this time a batch that is not in the upstream's list was never made: it would have expired by now. */
const LOST_MS = 25 * HOUR_MS;
/** Milliseconds between two readings of the list. */
const LIST_PAUSE_MS = HOUR_MS;

/** @returns whether the upstream's list has a batch that it could be; undefined if it has none, but was not read whole. */
export async function isBatchListedAtUpstream(
  record: BatchJournalStore,
  journal: Journal,
): Promise<boolean | undefined> {
  const { closingAt = journal.createdAt } = journal;
  const items = countBatchItems(journal);
  const { rows, isWhole } = await record.upstreamClient.listBatchesSince(closingAt - CLOCK_MS);
  const isThere = rows.some((row) => row.items === items && row.createdAt <= closingAt + MAKING_MS);
  return isThere || (isWhole ? false : undefined);
}

/**
 * Books the hold if the list has a batch that it could be, or was never read whole. Gives it back if after 25 hours no list
 * had one.
 */
export async function resolveUnknownBatch(record: BatchJournalStore, journal: Journal): Promise<void> {
  const { createdAt, closingAt = createdAt, isAbsent } = journal;
  const age = record.now - closingAt;
  const isLate = age > LOST_MS;
  if (age < MAKING_MS + CLOCK_MS) return;
  let isThere = isAbsent ? false : undefined;
  if (!(isAbsent && isLate)) {
    try {
      isThere = await isBatchListedAtUpstream(record, journal);
    } catch (thrown) {
      if (age <= FORGOTTEN_MS) throw thrown;
    }
    // Re-check after the await: the response to the create request may have arrived in the meantime.
    if (record.currentJournal?.phase !== 'unknown') return;
    if (isThere === false) record.updateJournal({ isAbsent: true });
  }
  if (isThere || (isThere === undefined && isLate)) await settleAtWholeHold(record);
  else if (isLate) {
    const outcomes = { ...NO_OUTCOMES, expired: countBatchItems(journal) };
    markBatchEnded(record, { outcomes, cost: 0 }, ['release', 'report']);
  }
}

/** @returns when the list is read next; milliseconds since 1970 */
export function computeNextListingTime({ createdAt, closingAt = createdAt }: Journal, now: number): number {
  const firstAt = closingAt + MAKING_MS + CLOCK_MS;
  const lostAt = closingAt + LOST_MS + 1;
  if (now < firstAt) return firstAt;
  return now < lostAt ? Math.min(now + LIST_PAUSE_MS, lostAt) : now + LIST_PAUSE_MS;
}
