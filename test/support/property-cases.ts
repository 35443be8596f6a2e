import fc from 'fast-check';
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
export function caseCount(full: number, byDay = 1): number {
  const share = inject('propertyRuns');
  return Math.max(1, Math.ceil(full * (share < 1 ? share * byDay : share)));
}

/** How many cases are tried, or all that fast-check can be told. */
type Cases<Values> = number | fc.Parameters<Values>;
type Arbitraries<Values> = { [At in keyof Values]: fc.Arbitrary<Values[At]> };

const toParameters = <Values>(cases: Cases<Values>) => (typeof cases === 'number' ? { numRuns: cases } : cases);

/** Tries cases of what must hold for all values. @throws Error with the least that fails, and its seed */
export function tryCases<Values extends [unknown, ...unknown[]]>(
  cases: Cases<NoInfer<Values>>,
  ...property: [...made: Arbitraries<Values>, holds: (...values: Values) => boolean | undefined]
): void {
  fc.assert(fc.property<Values>(...property), toParameters(cases));
}

/** As `tryCases`, for what takes its time. */
export async function tryAsyncCases<Values extends [unknown, ...unknown[]]>(
  cases: Cases<NoInfer<Values>>,
  ...property: [...made: Arbitraries<Values>, holds: (...values: Values) => Promise<boolean | undefined>]
): Promise<void> {
  await fc.assert(fc.asyncProperty<Values>(...property), toParameters(cases));
}
