import { inject } from 'vitest';

declare module 'vitest' {
  interface ProvidedContext {
    /** The share of its cases that a property tries: 1 for all of them. */
    propertyRuns: number;
  }
}

/**
 * Counts the cases that a costly test tries: a part of them by default, all with `PROPERTY_RUNS=100%`.
 *
 * @param full how many it tries at night
 * @param byDay the share of its part that it tries where not all are: for tests that have their cases from one another
 * @returns an integer, at least 1
 */
export function runs(full: number, byDay = 1): number {
  const share = inject('propertyRuns');
  return Math.max(1, Math.ceil(full * (share < 1 ? share * byDay : share)));
}
