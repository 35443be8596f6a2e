import { expect, test } from 'vitest';
import { findFailingSchedule } from './batch.ts';
import { MAX_DURATION_MS, RUNS } from './property.ts';

test(
  `batches keep their guarantees in ${RUNS} schedules`,
  async () => {
    const failure = await findFailingSchedule();
    expect(failure?.report).toBeUndefined();
  },
  MAX_DURATION_MS,
);
