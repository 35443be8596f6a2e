import { expect, test } from 'vitest';
import { find } from './inbox.ts';
import { PATIENCE_MS, RUNS } from './property.ts';

test(
  `an inbox holds what it promises in ${RUNS} schedules`,
  async () => {
    const failure = await find();
    expect(failure?.report).toBeUndefined();
  },
  PATIENCE_MS,
);
