/**
 * How many schedules are tried, and which: a failure prints its seed and its path, and is repeated by
 * `SCHEDULE_SEED=… SCHEDULE_PATH=… npx vitest run --project simulation`. At night `SCHEDULES=2000`, five
 * times, with other seeds each time.
 */
import fc from 'fast-check';
import type { Scheduler } from './world.ts';

// What chance does not find of the mistakes in mutations.ts in so few is replayed: recorded.json has a schedule for each.
const { SCHEDULES = '100', SCHEDULE_SEED = '1', SCHEDULE_PATH } = process.env;

/** How many schedules of each object are tried. */
export const RUNS = Number(SCHEDULES);
/** The first of their seeds. */
export const SEED = Number(SCHEDULE_SEED);

/** How long all of them may take, in milliseconds, on a machine that has other things to do. */
export const PATIENCE_MS = Math.max(600_000, RUNS * 600);

/** One schedule, and where it stands among those of its seed. */
export interface Schedule {
  seed: number;
  path: string;
}

/** A schedule under which something does not hold. */
export interface Failure extends Schedule {
  /** What does not hold. */
  message: string;
  /** What does not hold, and the schedule with its seed and its path. */
  report: string;
}

/** How a failure is looked for. */
export interface Search {
  /** Whether it is made smaller, which takes a while. Default: yes. */
  shrinks?: boolean;
  /** The first of the seeds, how many schedules are tried, and at which of them it begins. Default: as the environment says. */
  seed?: number;
  runs?: number;
  path?: string | undefined;
}

/** Runs scenarios under schedules. @returns the first failure */
export async function findFailure<T>(
  scenarios: fc.Arbitrary<T>,
  simulate: (scheduler: Scheduler, scenario: T) => Promise<void>,
  { shrinks = true, seed = SEED, runs = RUNS, path = SCHEDULE_PATH }: Search = {},
): Promise<Failure | undefined> {
  const result = await fc.check(fc.asyncProperty(fc.scheduler(), scenarios, simulate), {
    numRuns: runs,
    seed,
    endOnFailure: !shrinks,
    ...(path === undefined ? {} : { path }),
  });
  if (!result.failed) return undefined;
  const { errorInstance } = result;
  const message = errorInstance instanceof Error ? errorInstance.message : String(errorInstance);
  const report = `${message}\n${await fc.asyncDefaultReportMessage(result)}`;
  return { message, report, seed: result.seed, path: result.counterexamplePath ?? '' };
}
