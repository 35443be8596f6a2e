import { expect, it } from 'vitest';
import { scenarios, simulate } from './inbox.ts';
import { findFailure, RUNS } from './property.ts';

it(`an inbox holds what it promises in ${RUNS} schedules`, async () => {
  const failure = await findFailure(scenarios, simulate);
  expect(failure?.report).toBeUndefined();
});
