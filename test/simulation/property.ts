/**
 * How many schedules are tried, and which: a failure prints its seed and its path, and is repeated by
 * `SCHEDULE_SEED=… SCHEDULE_PATH=… npx vitest run --project simulation`. At night `SCHEDULES=2000`, five
 * times, with other seeds each time.
 */
import fc from 'fast-check';
import type { Scheduler } from './world.ts';

// From the first seed, five hundred find 26 of the 28 mistakes in mutations.ts, and three hundred 23.
const { SCHEDULES = '500', SCHEDULE_SEED = '1', SCHEDULE_PATH } = process.env;

/** How many schedules of each object are tried. */
export const RUNS = Number(SCHEDULES);
/** The first of their seeds. */
export const SEED = Number(SCHEDULE_SEED);

/** How long all of them may take, in milliseconds, on a machine that has other things to do. */
export const PATIENCE_MS = Math.max(600_000, RUNS * 600);

/** A schedule under which something does not hold. */
export interface Failure {
  /** What does not hold. */
  message: string;
  /** What does not hold, and the schedule with its seed and its path. */
  report: string;
}

/** How a failure is looked for. */
export interface Search {
  /** Whether it is made smaller, which takes a while. Default: yes. */
  shrinks?: boolean;
}

/** Runs scenarios under schedules. @returns the first failure */
export async function findFailure<T>(
  scenarios: fc.Arbitrary<T>,
  simulate: (scheduler: Scheduler, scenario: T) => Promise<void>,
  { shrinks = true }: Search = {},
): Promise<Failure | undefined> {
  const result = await fc.check(fc.asyncProperty(fc.scheduler(), scenarios, simulate), {
    numRuns: RUNS,
    seed: SEED,
    endOnFailure: !shrinks,
    ...(SCHEDULE_PATH === undefined ? {} : { path: SCHEDULE_PATH }),
  });
  if (!result.failed) return undefined;
  const { errorInstance } = result;
  const message = errorInstance instanceof Error ? errorInstance.message : String(errorInstance);
  return { message, report: `${message}\n${await fc.asyncDefaultReportMessage(result)}` };
}
