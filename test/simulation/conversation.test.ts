import { expect, test } from 'vitest';
import { findFailingSchedule } from './conversation.ts';
import { MAX_DURATION_MS, RUNS } from './property.ts';

test(
  `a conversation keeps its guarantees in ${RUNS} schedules`,
  async () => {
    const failure = await findFailingSchedule();
    expect(failure?.report).toBeUndefined();
  },
  MAX_DURATION_MS,
);
