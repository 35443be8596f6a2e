import { expect, test } from 'vitest';
import { MAX_DURATION_MS, RUNS } from './property.ts';
import { findFailingSchedule } from './settling.ts';

test(
  `each settlement is booked once and no confirmed settlement is lost, whatever dies, in ${RUNS} schedules`,
  async () => {
    const failure = await findFailingSchedule();
    expect(failure?.report).toBeUndefined();
  },
  MAX_DURATION_MS,
);
