import { expect, it } from 'vitest';
import { runAccount, scenarios } from './account.ts';
import { findFailure, RUNS } from './property.ts';

it(`an account holds what it promises in ${RUNS} schedules`, async () => {
  expect(await findFailure(scenarios, runAccount)).toBeUndefined();
});
