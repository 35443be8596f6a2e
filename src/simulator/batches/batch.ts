import type { RequestProtocol } from '../request/message-request.ts';

/** How an item ends: it succeeded, errored, was canceled, or expired. */
export type ItemOutcomeCode = 's' | 'e' | 'c' | 'x';

/** A stored batch. Everything that changes with time is computed from these figures. */
export interface Batch {
  id: string;
  /** Milliseconds since the epoch, as all times here. */
  createdAt: number;
  /** How many milliseconds all its items take. */
  durationMs: number;
  /** How each item ends if it is worked on, a letter each. */
  outcomes: string;
  /** Into how many pieces its items were written. */
  pieces: number;
  protocol: RequestProtocol;
  canceledAt: number | null;
}

export const DAY_MS = 86_400_000;
/**
 * The age at which the unfinished items of a batch expire:
 * https://platform.claude.com/docs/en/build-with-claude/batch-processing
 */
const EXPIRY_MS = DAY_MS;
/** How long the results of a batch can be read; see the same page. */
export const RESULTS_RETENTION_MS = 29 * DAY_MS;
/** Items that are being worked on when a batch is canceled are completed. That takes this part of the batch's whole time. */
const CANCELING_PART = 0.1;

const NAMES = { s: 'succeeded', e: 'errored', c: 'canceled', x: 'expired' } as const;

/** @returns how many items have been worked on at a time. Each takes as long as any other. */
function countProcessed({ createdAt, durationMs, outcomes }: Batch, at: number): number {
  const part = Math.max(0, at - createdAt) / durationMs;
  return Math.min(outcomes.length, Math.floor(part * outcomes.length));
}

/** @returns when the whole batch ends, in milliseconds since the epoch. */
export function computeBatchEnd({ createdAt, durationMs, canceledAt }: Batch): number {
  const end = Math.min(createdAt + durationMs, createdAt + EXPIRY_MS);
  return canceledAt === null ? end : Math.min(end, canceledAt + durationMs * CANCELING_PART);
}

/** @returns how each item has ended, after all have ended. */
export function computeFinalOutcomes(batch: Batch): string {
  const { outcomes, canceledAt, createdAt } = batch;
  const worked = countProcessed(batch, canceledAt ?? createdAt + EXPIRY_MS);
  return outcomes.slice(0, worked) + (canceledAt === null ? 'x' : 'c').repeat(outcomes.length - worked);
}

/** @returns whether the results are gone. */
export function areResultsArchived({ createdAt }: Batch, now: number): boolean {
  return now >= createdAt + RESULTS_RETENTION_MS;
}

/**
 * Writes a batch as the API does. All counts but `processing` are 0 until everything has ended.
 *
 * @param base the address of the API, without `/v1`
 */
export function createBatchResponse(batch: Batch, now: number, base: string): Record<string, unknown> {
  const { id, createdAt, canceledAt } = batch;
  const end = computeBatchEnd(batch);
  const hasEnded = now >= end;
  const archived = areResultsArchived(batch, now);
  const open = canceledAt === null ? 'in_progress' : 'canceling';
  return {
    id,
    type: 'message_batch',
    processing_status: hasEnded ? 'ended' : open,
    request_counts: countOutcomes(batch, hasEnded),
    created_at: formatTime(createdAt),
    expires_at: formatTime(createdAt + EXPIRY_MS),
    ended_at: hasEnded ? formatTime(end) : null,
    cancel_initiated_at: canceledAt === null ? null : formatTime(canceledAt),
    archived_at: archived ? formatTime(createdAt + RESULTS_RETENTION_MS) : null,
    results_url: hasEnded && !archived ? `${base}/v1/messages/batches/${id}/results` : null,
  };
}

function countOutcomes(batch: Batch, hasEnded: boolean): Record<string, number> {
  const counts = { processing: 0, succeeded: 0, errored: 0, canceled: 0, expired: 0 };
  if (!hasEnded) return { ...counts, processing: batch.outcomes.length };
  for (const outcome of computeFinalOutcomes(batch)) counts[NAMES[outcome as ItemOutcomeCode]]++;
  return counts;
}

/** @returns a time as the API writes it. */
function formatTime(at: number): string {
  return new Date(at).toISOString();
}
