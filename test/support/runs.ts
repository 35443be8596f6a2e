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
 * @returns an integer, at least 1
 */
export function runs(full: number): number {
  return Math.max(1, Math.ceil(full * inject('propertyRuns')));
}
