/**
 * How many schedules are tried, and which: a failure prints its seed and its path, and is repeated by
 * `PROPERTY_SEED=… PROPERTY_PATH=… npx vitest run --project node test/simulation`. At night `PROPERTY_RUNS=20000`, with
 * another seed each time.
 */
import fc from 'fast-check';
import type { Scheduler } from './world.ts';

const { PROPERTY_RUNS = '2000', PROPERTY_SEED = '1', PROPERTY_PATH } = process.env;

/** How many schedules of each object are tried. */
export const RUNS = Number(PROPERTY_RUNS);

/** Runs scenarios under schedules until one fails. @returns what is to be printed then, or undefined */
export async function findFailure<T>(
  scenarios: fc.Arbitrary<T>,
  run: (scheduler: Scheduler, scenario: T) => Promise<void>,
  { runs = RUNS, shrinks = true } = {},
): Promise<string | undefined> {
  const property = fc.asyncProperty(fc.scheduler(), scenarios, run);
  const result = await fc.check(property, {
    numRuns: runs,
    seed: Number(PROPERTY_SEED),
    endOnFailure: !shrinks,
    ...(PROPERTY_PATH === undefined ? {} : { path: PROPERTY_PATH }),
  });
  return result.failed ? await fc.asyncDefaultReportMessage(result) : undefined;
}
