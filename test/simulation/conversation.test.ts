import { expect, test } from 'vitest';
import { find } from './conversation.ts';
import { PATIENCE_MS, RUNS } from './property.ts';

test(
  `a conversation holds what it promises in ${RUNS} schedules`,
  async () => {
    const failure = await find();
    expect(failure?.report).toBeUndefined();
  },
  PATIENCE_MS,
);
