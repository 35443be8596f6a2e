import { expect, test } from 'vitest';
import { MAX_DURATION_MS, RUNS } from './property.ts';
import { findFailingSchedule } from './tries.ts';

/** How many schedules are tried: three times those of others, since each is short. */
const TRIED = 3 * RUNS;

test(
  `whatever upstreams do, each try has a hold, three may have run, and nothing is over, in ${TRIED} schedules`,
  async () => {
    const failure = await findFailingSchedule(TRIED);
    expect(failure?.report).toBeUndefined();
  },
  MAX_DURATION_MS,
);
