/** Decides when a classification by batch is checked again. Times are milliseconds. No I/O. */

import { MINUTE_MS } from '../async/durations.ts';
import { RESULTS_MS } from '../batches/journal.ts';
import type { Job } from './job-tables.ts';

/** How long the upstream may take to answer the request that makes a batch. */
export const JOB_MAKING_MS = 15 * MINUTE_MS;
/** The bounds of the pause between polls, which is a tenth of the job's age. The first poll comes after the shortest. */
export const FIRST_POLL_MS = 2_000;
const LONGEST_POLL_MS = MINUTE_MS;
/** The pause after a failure, and before the next check whether a batch was made. */
export const JOB_AGAIN_MS = 30_000;

/** @returns when a job has something to do next */
export function jobDueAt({ phase, createdAt, touchedAt, endedAt, delivery, isAbandoned }: Job, now: number): number {
  if (phase === 'running') {
    return now + Math.min(LONGEST_POLL_MS, Math.max(FIRST_POLL_MS, (now - createdAt) / 10));
  }
  if (phase === 'ended') return delivery?.nextAt ?? (endedAt ?? now) + RESULTS_MS;
  return isAbandoned ? now + JOB_AGAIN_MS : Math.max(now + JOB_AGAIN_MS, touchedAt + JOB_MAKING_MS);
}
