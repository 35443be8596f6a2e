import { expect, test } from 'vitest';
import { find } from './pool.ts';
import { PATIENCE_MS, RUNS } from './property.ts';

test(
  `a pool and its accounts hold what they promise in ${RUNS} schedules`,
  async () => {
    const failure = await find();
    expect(failure?.report).toBeUndefined();
  },
  PATIENCE_MS,
);
