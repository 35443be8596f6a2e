import { expect, it } from 'vitest';
import { runInbox, scenarios } from './inbox.ts';
import { findFailure, RUNS } from './property.ts';

it(`an inbox holds what it promises in ${RUNS} schedules`, async () => {
  expect(await findFailure(scenarios, runInbox)).toBeUndefined();
});
