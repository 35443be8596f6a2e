import { expect, test } from 'vitest';
import { find, outcomes } from './approvals.ts';
import { PATIENCE_MS, RUNS } from './property.ts';

test(
  `calls that wait for approval come to one outcome each in ${RUNS} schedules`,
  async () => {
    const failure = await find();
    expect(failure?.report).toBeUndefined();
    // All ways were taken.
    for (const outcome of ['made', 'deny', 'cancel', 'rewound']) {
      expect(outcomes[outcome] ?? 0, JSON.stringify(outcomes)).toBeGreaterThan(0);
    }
    console.info(outcomes);
  },
  PATIENCE_MS,
);
