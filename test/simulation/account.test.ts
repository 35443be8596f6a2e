import { expect, it } from 'vitest';
import { scenarios, simulate } from './account.ts';
import { findFailure, RUNS } from './property.ts';

it(`an account holds what it promises in ${RUNS} schedules`, async () => {
  const failure = await findFailure(scenarios, simulate);
  expect(failure?.report).toBeUndefined();
});
