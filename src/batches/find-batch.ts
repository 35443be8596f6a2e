/** Searches the upstream's list for a batch whose create got no answer. A create is never sent again. */

import { HOUR_MS, MINUTE_MS } from '../async/durations.ts';
import type { BatchRecord } from './batch-record.ts';
import type { Journal } from './journal.ts';
import { FORGOTTEN_MS, readSums, settleUnknown } from './poll-batch.ts';
import type { UpstreamRow } from './upstream-batches.ts';

/** Milliseconds by which the upstream's clock may differ from this one, and that it may take to make a batch. */
const CLOCK_MS = 2 * MINUTE_MS;
const MAKING_MS = 15 * MINUTE_MS;
/**
 * If a batch is not in the upstream's list after this time, it was never made: if it was made, it would have expired by now.
 */
const LOST_MS = 25 * HOUR_MS;

/**
 * Searches for a batch: the only possible one in the list, or the one whose results have its custom ids.
 *
 * @returns `none` if the whole list has nothing that it could be
 */
export async function findBatch(record: BatchRecord, journal: Journal): Promise<'none' | 'open'> {
  const { id, items, closingAt = journal.createdAt, wrong = [] } = journal;
  const { rows, isWhole } = await record.calls.since(closingAt - CLOCK_MS);
  const alike = rows.filter(
    (row) => row.items === items && row.createdAt <= closingAt + MAKING_MS && !wrong.includes(row.id),
  );
  const candidates = alike.map((row) => ({ id: row.id, at: row.createdAt }));
  const { only, free } = await record.claims((claims) => claims.choose(id, candidates));
  const row = alike.find((one) => one.id === only);
  if (row) adopt(record, row, true);
  else {
    for (const one of alike) {
      if (free.includes(one.id) && one.status === 'ended' && (await prove(record, one))) return 'open';
    }
    if (record.now > closingAt + FORGOTTEN_MS) await settleUnknown(record);
  }
  return free.length === 0 && isWhole ? 'none' : 'open';
}

/** @returns whether a batch that is in no list was certainly never made. */
export function isTooLate({ closingAt, createdAt }: Journal, now: number): boolean {
  return now > (closingAt ?? createdAt) + LOST_MS;
}

/** Decides by its custom ids whether an ended batch of the upstream is this one. */
async function prove(record: BatchRecord, row: UpstreamRow): Promise<boolean> {
  const sums = await readSums(record, row.id);
  const { journal } = record;
  if (!journal) return true;
  const { id, wrong = [] } = journal;
  const isAlike = sums.digest === journal.digest && sums.items === journal.items;
  // Another lost batch may have the same custom ids. Then nobody can say which one this is.
  const verdict = isAlike ? await record.claims((claims) => claims.prove(id, row.id)) : 'other';
  if (verdict === 'own') adopt(record, row, false);
  else if (verdict === 'other') record.change({ wrong: [...wrong, row.id] });
  return verdict === 'own';
}

/** Takes a batch of the upstream as this one, unless the answer to the create has come meanwhile. */
function adopt(record: BatchRecord, { id, expiresAt }: UpstreamRow, isGuess: boolean): void {
  const { phase } = record.journal ?? {};
  if (phase !== 'closing' && phase !== 'lost') return;
  record.change({ phase: 'running', upstreamId: id, isGuess, expiresAt, isClaimed: true, isReported: false });
}

/** Goes back to searching, because the batch that was taken is another one. */
export async function dropGuess(record: BatchRecord, upstreamId: string): Promise<void> {
  const { journal } = record;
  if (!journal) return;
  await record.claims(async (claims) => {
    await claims.release(journal.id, upstreamId);
    await claims.begin(pendingOf(journal));
  });
  const { isGuess, wrong = [] } = record.journal ?? {};
  // The upstream's answer may have come meanwhile.
  if (!isGuess) return;
  record.change({
    phase: 'lost',
    upstreamId: undefined,
    isGuess: undefined,
    wrong: [...wrong, upstreamId],
    isReported: false,
  });
}

/** @returns what the claims must know about a batch before its last byte goes up. */
export function pendingOf({ id, items, closingAt, createdAt, likeness = '', origin = '' }: Journal) {
  return { batch: id, items, at: closingAt ?? createdAt, likeness, origin };
}
