/** Asks the upstream for the state of a batch, and settles the batch's results when it has ended. */

import { getPrices, isClaudeApiAt } from '../../claude/upstreams/prices.ts';
import type { CreatedId } from '../../claude/usage/created-ids.ts';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../kit/async/durations.ts';
import type { BatchRecord } from './batch-record.ts';
import type { BatchSettlementRow } from './contracts/batch.ts';
import { firstDelivery } from './deliver-end.ts';
import { itemsOf, type Journal, NO_OUTCOMES, type PendingTask } from './journal.ts';
import { type ResultSums, readResults } from './read-results.ts';
import { isUnknownUpstream } from './upstream-batches.ts';

/** If the upstream has not known a batch for this time, it is settled at its hold. Milliseconds. */
export const FORGOTTEN_MS = 30 * DAY_MS;

/** The first pause before results are read again after a failure. Each failure doubles it. Milliseconds. */
const FREE_MISREADS = 3;
const READ_PAUSE_MS = MINUTE_MS;
const MOST_READ_PAUSE_MS = 6 * HOUR_MS;

/** Asks the upstream, and settles the batch if it has ended. */
export async function pollBatch(record: BatchRecord, journal: Journal): Promise<void> {
  const { upstreamId = '', closingAt = journal.createdAt, rereading } = journal;
  if (rereading && record.now < rereading.nextAt) return;
  let sums: ResultSums;
  try {
    const { status } = await record.calls.read(upstreamId);
    if (status !== 'ended') return noteFound(record);
    sums = await rereadSums(record, journal, upstreamId);
  } catch (thrown) {
    if (!isUnknownUpstream(thrown)) throw thrown;
    noteMissing(record);
    if (record.now <= closingAt + FORGOTTEN_MS) throw thrown;
    // The upstream has forgotten the batch, so nobody can say any more what it has cost.
    return await settleUnknown(record);
  }
  // It was forgotten meanwhile.
  if (!record.journal) return;
  const rows = sums.rows.map((sum): BatchSettlementRow => ({ ...sum, status: 'complete', upstream: journal.upstream }));
  await settleRows(record, rows, sums);
}

/** Notes that the upstream knows it. Of a batch that was missing the operator is told once. */
function noteFound(record: BatchRecord): void {
  const { owes = [] } = record.journal ?? {};
  if (owes.includes('missing'))
    record.change({ missingSince: undefined, owes: owes.filter((debt) => debt !== 'missing') });
}

function noteMissing(record: BatchRecord): void {
  if (record.journal?.missingSince === undefined) record.addTasks(['missing'], { missingSince: record.now });
}

/** Reads the results as `readSums` does. If that fails again and again, the pauses become longer. */
async function rereadSums(record: BatchRecord, journal: Journal, upstreamId: string): Promise<ResultSums> {
  try {
    const sums = await readSums(record, upstreamId);
    const items = itemsOf(journal);
    if (sums.items !== items) throw new Error(`${sums.items} of ${items} results`);
    return sums;
  } catch (thrown) {
    const failures = (record.journal?.rereading?.failures ?? 0) + 1;
    const pauseMs = Math.min(MOST_READ_PAUSE_MS, READ_PAUSE_MS * 2 ** (failures - FREE_MISREADS - 1));
    record.change({ rereading: { failures, nextAt: failures > FREE_MISREADS ? record.now + pauseMs : 0 } });
    throw thrown;
  }
}

/** Reads the results of a batch at the upstream to their end. Notes the ids in them. */
async function readSums(record: BatchRecord, upstreamId: string): Promise<ResultSums> {
  const { settings, journal } = record;
  if (!journal) throw new Error('The batch was deleted meanwhile.');
  const answered = await record.calls.results(upstreamId);
  const models = getPrices(settings, journal.upstream).withPrices(journal.prices);
  const { makesThings, isErased, upstream = '' } = journal;
  const note = async (ids: readonly CreatedId[]) => {
    // If the account was erased meanwhile, nothing is noted.
    if (record.journal?.isErased) return;
    await record.account((account) => account.noteCreated(ids.map((one) => ({ ...one, upstream }))));
  };
  return await readResults(answered, journal, {
    models,
    isClaudeApi: isClaudeApiAt(settings, journal.upstream),
    note: makesThings && !isErased ? note : undefined,
  });
}

/** Books the hold of a batch as its cost, because the real cost is not known any more. */
export async function settleUnknown(record: BatchRecord): Promise<void> {
  const { journal } = record;
  if (!journal) return;
  const held = journal.rows.reduce((sum, { hold }) => sum + hold, 0);
  const outcomes = { ...NO_OUTCOMES, errored: itemsOf(journal) };
  await settleRows(record, rowsWithoutResults(journal, 'unknown', 1), { outcomes, cost: held });
}

/** Settles the results with the account, then notes that the batch has ended. After a crash in between, it settles again. */
async function settleRows(
  record: BatchRecord,
  rows: BatchSettlementRow[],
  { outcomes, cost }: Pick<ResultSums, 'outcomes' | 'cost'>,
): Promise<void> {
  const { id: batch, createdAt: startedAt } = record.journal ?? {};
  const text = JSON.stringify({ batch, rows, startedAt });
  await record.account((account) => account.settleBatchJson(text));
  endBatch(record, { outcomes, cost });
}

/** Notes that a batch has ended, and that its end must be delivered. @param owed if it is not what an ended batch usually owes */
export function endBatch(
  record: BatchRecord,
  more: Pick<Journal, 'outcomes' | 'cost'>,
  owed?: readonly PendingTask[],
): void {
  const { journal, now } = record;
  const delivery = journal?.isErased ? {} : firstDelivery(record);
  record.enterPhase('ended', { endedAt: now, ...more, ...delivery }, owed);
}

/** @returns the settlement rows of a batch without results. @param share 1 books its hold, 0 nothing */
export function rowsWithoutResults(
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
