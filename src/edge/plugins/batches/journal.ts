/** The journal that the object of a batch keeps, and how it is shown. */

import { type Nanodollars, toUsd } from '../../claude/pricing/cost.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import type { PendingDelivery } from '../../kit/delivery/deliver-event.ts';
import { toIsoTime, toIsoTimeOrNull } from '../../kit/http/times.ts';
import type { BatchOutcomeCounts, MessageBatch } from '../../money/lists/batches-answers.schema.ts';
import type { BatchCreateOutcome, BatchState, InitialBatchData } from './contracts/batch.ts';

/**
 * The phase of a batch: prepared (only items were sent), closing (its last byte may have been sent), unknown (the upstream has
 * not confirmed whether it was created), running (created), ended (settled), refused (rejected by the upstream), unsent (given
 * up before its last byte).
 */
export type BatchPhase = 'prepared' | 'closing' | 'unknown' | 'running' | 'ended' | 'refused' | 'unsent';

/**
 * The pending tasks: `alert` the operator that it is unknown whether the batch was created; `missing`, alert the operator that
 * the upstream does not know it; `cancel` it at the upstream; `release` the account's hold; `report` it to the account's list.
 */
export type BatchObligation = 'alert' | 'missing' | 'cancel' | 'release' | 'report';

/** The pending tasks at the beginning of a phase, which replace the earlier ones. */
export const OWED: Readonly<Record<BatchPhase, readonly BatchObligation[]>> = {
  prepared: [],
  closing: ['report'],
  unknown: ['alert', 'report'],
  running: ['report'],
  ended: ['report'],
  refused: ['release'],
  unsent: ['release'],
};

export interface Journal extends InitialBatchData {
  phase: BatchPhase;
  owes: readonly BatchObligation[];
  /** Times in milliseconds since 1970. */
  createdAt: number;
  closingAt?: number;
  upstreamId?: string;
  /** Whether the upstream's whole list had no batch that it could be. */
  isAbsent?: boolean;
  /** Since when the upstream has answered that it does not know it. */
  missingSince?: number | undefined;
  expiresAt?: string;
  cancelAt?: number;
  /** How often reading its results has failed, and when they are read again. */
  rereading?: { failures: number; nextAt: number };
  endedAt?: number;
  outcomes?: BatchOutcomeCounts;
  cost?: Nanodollars;
  refusal?: Pick<Extract<BatchCreateOutcome, { kind: 'refused' }>, 'status' | 'body' | 'headers'>;
  /** The state of the delivery of its end; absent if nothing is delivered. */
  delivery?: PendingDelivery | undefined;
  isErased?: boolean;
}

/** The outcome counts of a batch in which no item has ended. */
export const NO_OUTCOMES: Readonly<BatchOutcomeCounts> = { succeeded: 0, errored: 0, canceled: 0, expired: 0 };

/** Milliseconds that the upstream works on a batch: a day. */
const EXPIRES_MS = DAY_MS;
/** Milliseconds that the upstream keeps the results. */
export const RESULTS_MS = 29 * DAY_MS;

/** @returns a batch as the API shows it. */
export function toMessageBatch(journal: Journal, now: number): MessageBatch {
  const { id, createdAt, endedAt, cancelAt, outcomes, cost, base, upstreamId, expiresAt } = journal;
  const isEnded = journal.phase === 'ended';
  const archivedAt = createdAt + RESULTS_MS;
  const isArchived = isEnded && now >= archivedAt;
  return {
    id,
    type: 'message_batch',
    processing_status: isEnded ? 'ended' : cancelAt === undefined ? 'in_progress' : 'canceling',
    request_counts: { processing: isEnded ? 0 : countBatchItems(journal), ...(outcomes ?? NO_OUTCOMES) },
    created_at: toIsoTime(createdAt),
    expires_at: expiresAt || toIsoTime(createdAt + EXPIRES_MS),
    ended_at: toIsoTimeOrNull(endedAt),
    cancel_initiated_at: toIsoTimeOrNull(cancelAt),
    archived_at: isArchived ? toIsoTime(archivedAt) : null,
    // A batch that was never created at the upstream has no results, so it gets no URL.
    results_url: isEnded && upstreamId !== undefined && !isArchived ? `${base}/${id}/results` : null,
    cost_usd: cost === undefined ? null : toUsd(cost),
    ...(journal.phase === 'unknown' ? { unknown: describeUnknownBatch(journal) } : {}),
  };
}

function describeUnknownBatch(journal: Journal): string {
  const { id, closingAt } = journal;
  return `It is unknown whether the upstream created the batch ${id}. In the upstream’s list of batches, for example in the Claude Console, look for a batch with ${countBatchItems(journal)} items that was created at about ${toIsoTimeOrNull(closingAt)}: only there you can find its results. If there is none, send the batch again with another idempotency-key. Its cost is held for 25 hours, and then released unless the list contains such a batch.`;
}

/** @returns what other objects get to know about a batch. */
export function toBatchState(journal: Journal | undefined, now: number): BatchState {
  if (!journal || journal.isErased || journal.phase === 'unsent') return { kind: 'none' };
  if (journal.phase === 'refused') {
    return journal.refusal ? { kind: 'refused', ...journal.refusal } : { kind: 'none' };
  }
  const { upstreamId, upstream: name, headers, labels } = journal;
  return {
    kind: 'known',
    batch: toMessageBatch(journal, now),
    isSent: journal.phase !== 'prepared',
    labels,
    upstream: upstreamId === undefined ? undefined : { id: upstreamId, name, headers },
  };
}

/** @returns the given tasks that are pending. An erased batch needs no alerts and reports any more */
export function filterOwedTasks(
  { isErased }: Pick<Journal, 'isErased'>,
  debts: readonly BatchObligation[],
): readonly BatchObligation[] {
  return isErased ? debts.filter((debt) => debt === 'cancel' || debt === 'release') : debts;
}

/** @returns how many items a batch has. */
export function countBatchItems({ rows }: Pick<Journal, 'rows'>): number {
  return rows.reduce((sum, { items }) => sum + items, 0);
}

/** @returns whether the upstream may still work on a batch. */
export function isBatchOpen({ phase }: Pick<Journal, 'phase'>): boolean {
  return phase === 'closing' || phase === 'unknown' || phase === 'running';
}
