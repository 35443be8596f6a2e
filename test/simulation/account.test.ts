import { expect, test } from 'vitest';
import { findFailingSchedule } from './account.ts';
import { MAX_DURATION_MS, RUNS } from './property.ts';

test(
  `an account keeps its guarantees in ${RUNS} schedules`,
  async () => {
    const failure = await findFailingSchedule();
    expect(failure?.report).toBeUndefined();
  },
  MAX_DURATION_MS,
);
