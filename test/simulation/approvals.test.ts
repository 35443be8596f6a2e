import { expect, test } from 'vitest';
import { findFailingSchedule, outcomes } from './approvals.ts';
import { MAX_DURATION_MS, RUNS } from './property.ts';

test(
  `each call that waits for approval has exactly one outcome in ${RUNS} schedules`,
  async () => {
    const failure = await findFailingSchedule();
    expect(failure?.report).toBeUndefined();
    // All ways were taken.
    for (const outcome of ['made', 'deny', 'cancel', 'rewound']) {
      expect(outcomes[outcome] ?? 0, JSON.stringify(outcomes)).toBeGreaterThan(0);
    }
    console.info(outcomes);
  },
  MAX_DURATION_MS,
);
