import { expect, test } from 'vitest';
import { PATIENCE_MS, RUNS } from './property.ts';
import { find } from './settling.ts';

test(
  `whatever dies, each settlement is booked once, and none is lost that was confirmed, in ${RUNS} schedules`,
  async () => {
    const failure = await find();
    expect(failure?.report).toBeUndefined();
  },
  PATIENCE_MS,
);
