/** Decides when a failed attempt is repeated. All pauses of the webhooks are in this file. */

import { HOUR_MS as HOUR, MINUTE_MS as MINUTE } from '../async/durations.ts';
import { addJitter } from '../async/pause.ts';

const SECOND_MS = 1_000;

/** All times are milliseconds. A list has the pauses after the 1st, 2nd, … failure; after the last one an event is parked. */
export interface EventRetrySchedule {
  classification: readonly number[];
  delivery: readonly number[];
  /** How long a classification may take, all of its upstream calls together. */
  classificationTimeout: number;
  /** How long a receiver may take to answer. */
  deliveryTimeout: number;
  /** After this time without a sign of life, a job counts as crashed. It gives one three times as often. */
  lease: number;
}

export const SCHEDULE: EventRetrySchedule = {
  classification: [5 * SECOND_MS, 30 * SECOND_MS, 2 * MINUTE, 10 * MINUTE, HOUR, 4 * HOUR],
  // Retry for about sixteen hours, so that a receiver that fails in the evening can be repaired the next morning.
  delivery: [5 * SECOND_MS, 30 * SECOND_MS, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR],
  classificationTimeout: 2 * MINUTE,
  deliveryTimeout: 15 * SECOND_MS,
  lease: 45 * SECOND_MS,
};

/** The schedule of alerts. They are tried some hours longer, because the reported problem may be why the receiver fails. */
export const ALERT_SCHEDULE: EventRetrySchedule = { ...SCHEDULE, delivery: [...SCHEDULE.delivery, 12 * HOUR] };

/**
 * Finds the pause before the next attempt.
 *
 * @param pauses milliseconds, one for each failure
 * @param failures how often it has failed, this failure included
 * @returns milliseconds, up to a quarter more or less, so that events do not all return at once; undefined: no more attempts
 */
export function findRetryPauseMs(pauses: readonly number[], failures: number): number | undefined {
  const pause = pauses[failures - 1];
  return pause === undefined ? undefined : Math.round(addJitter(pause));
}
