import { expect, it } from 'vitest';
import { PATIENCE_MS, RUNS } from './property.ts';
import { find } from './settling.ts';

it(
  `settlements that wait for other calls are made once and forgotten nowhere in ${RUNS} schedules`,
  async () => {
    const failure = await find();
    expect(failure?.report).toBeUndefined();
  },
  PATIENCE_MS,
);
