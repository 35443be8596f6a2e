/** When what has failed is tried again: every pause of the webhooks stands here. */
const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/** Milliseconds throughout. Each list has the pauses after the 1st, 2nd, … failure; after the last one it is parked. */
export interface Schedule {
  classification: readonly number[];
  delivery: readonly number[];
  /** How long a classification may take, all of its upstream calls together. */
  classificationTimeout: number;
  /** How long a receiver may take to answer. */
  deliveryTimeout: number;
  /** Room for the calls of objects around both, before a run is taken for dead. */
  margin: number;
}

export const SCHEDULE: Schedule = {
  classification: [5 * SECOND, 30 * SECOND, 2 * MINUTE, 10 * MINUTE, HOUR, 4 * HOUR],
  // Sixteen hours: a receiver that breaks in the evening is mended in the morning.
  delivery: [5 * SECOND, 30 * SECOND, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR],
  classificationTimeout: 2 * MINUTE,
  deliveryTimeout: 15 * SECOND,
  margin: 15 * SECOND,
};

/** @returns for how long nobody else takes up an event that is being worked on, in milliseconds. */
export function leaseOf({ classificationTimeout, deliveryTimeout, margin }: Schedule): number {
  return classificationTimeout + deliveryTimeout + margin;
}

/**
 * @param failures how often it has failed, this time included
 * @returns milliseconds to wait, a quarter more or less so that not all come back at once; undefined: it is given up
 */
export function pauseAfter(pauses: readonly number[], failures: number, random = Math.random()): number | undefined {
  const pause = pauses[failures - 1];
  return pause === undefined ? undefined : Math.round(pause * (0.75 + random / 2));
}
