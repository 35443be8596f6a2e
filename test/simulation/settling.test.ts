import { expect, test } from 'vitest';
import { MAX_DURATION_MS, RUNS } from './property.ts';
import { findFailingSchedule } from './settling.ts';

test(
  `whatever dies, each settlement is booked once, and none is lost that was confirmed, in ${RUNS} schedules`,
  async () => {
    const failure = await findFailingSchedule();
    expect(failure?.report).toBeUndefined();
  },
  MAX_DURATION_MS,
);
