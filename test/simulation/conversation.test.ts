import { expect, it } from 'vitest';
import { scenarios, simulate } from './conversation.ts';
import { findFailure, RUNS } from './property.ts';

it(`a conversation holds what it promises in ${RUNS} schedules`, async () => {
  const failure = await findFailure(scenarios, simulate);
  expect(failure?.report).toBeUndefined();
});
