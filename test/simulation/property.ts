/**
 * How many schedules are tried, and which: a failure prints its seed and its path, and is repeated by
 * `SCHEDULE_SEED=… SCHEDULE_PATH=… npx vitest run test/simulation`. `npm run hunt` tries others.
 */
import fc from 'fast-check';
import type { Scheduler } from './world.ts';

const { SCHEDULES = '100', SCHEDULE_SEED = '1', SCHEDULE_PATH, SCHEDULE_SHRINKS } = process.env;

/** How many schedules of each object are tried. */
export const RUNS = Number(SCHEDULES);
/** The first of their seeds. */
export const SEED = Number(SCHEDULE_SEED);

/** How long all of them may take, in milliseconds, on a machine that has other things to do. */
export const MAX_DURATION_MS = Math.max(600_000, RUNS * 600);

/** A schedule under which something does not hold: what that is, and the schedule with its seed and its path. */
export interface Failure {
  report: string;
}

/** Runs scenarios under so many schedules. @returns the first failure */
export async function findFailure<T>(
  scenarios: fc.Arbitrary<T>,
  simulate: (scheduler: Scheduler, scenario: T) => Promise<void>,
  runs = RUNS,
): Promise<Failure | undefined> {
  const result = await fc.check(fc.asyncProperty(fc.scheduler(), scenarios, simulate), {
    numRuns: runs,
    seed: SEED,
    // To make it shorter takes a while.
    endOnFailure: SCHEDULE_SHRINKS === 'false',
    ...(SCHEDULE_PATH === undefined ? {} : { path: SCHEDULE_PATH }),
  });
  if (!result.failed) return undefined;
  const { errorInstance } = result;
  const message = errorInstance instanceof Error ? errorInstance.message : String(errorInstance);
  return { report: `${message}\n${await fc.asyncDefaultReportMessage(result)}` };
}
