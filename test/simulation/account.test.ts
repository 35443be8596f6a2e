import { expect, test } from 'vitest';
import { find } from './account.ts';
import { PATIENCE_MS, RUNS } from './property.ts';

test(
  `an account holds what it promises in ${RUNS} schedules`,
  async () => {
    const failure = await find();
    expect(failure?.report).toBeUndefined();
  },
  PATIENCE_MS,
);
