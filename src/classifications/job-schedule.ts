/** Decides when a classification by batch is checked again. Times are milliseconds. No I/O. */

import { MINUTE_MS } from '../async/durations.ts';
import { RESULTS_MS } from '../batches/journal.ts';
import type { Job } from './job-tables.ts';

/** If the maker of a batch is silent for this time, it has died. The batch that it may have made is searched for then. */
export const JOB_MAKING_MS = 5 * MINUTE_MS;
/** If the request that brings the inputs is silent for this time, it has died. */
export const TAKING_SILENT_MS = MINUTE_MS;
/** The bounds of the pause between polls, which is a tenth of the job's age. The first poll comes after the shortest. */
export const FIRST_POLL_MS = 2_000;
const LONGEST_POLL_MS = MINUTE_MS;
/** A maker that did something within this time is probably alive. */
const ALIVE_MS = 5_000;
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

/** @returns seconds after which the same request is worth another try: a maker that lives is soon done, a dead one is silent */
export function busySeconds({ phase, touchedAt }: Pick<Job, 'phase' | 'touchedAt'>, now: number): number {
  const silentMs = phase === 'taking' ? TAKING_SILENT_MS : JOB_MAKING_MS;
  const isAlive = now - touchedAt < ALIVE_MS;
  return isAlive ? ALIVE_MS / 1_000 : Math.max(1, Math.ceil((touchedAt + silentMs - now) / 1_000));
}
