import { expect, test } from 'vitest';
import { MAX_DURATION_MS, RUNS } from './property.ts';
import { findFailingSchedule } from './tries.ts';

/** How many schedules are tried: three times those of others, since each is short. */
const TRIED = 3 * RUNS;

test(
  `each attempt has a hold, at most three attempts run, and spending stays within the limit in ${TRIED} schedules`,
  async () => {
    const failure = await findFailingSchedule(TRIED);
    expect(failure?.report).toBeUndefined();
  },
  MAX_DURATION_MS,
);
