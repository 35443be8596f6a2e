import { expect, it } from 'vitest';
import { runConversation, scenarios } from './conversation.ts';
import { findFailure, RUNS } from './property.ts';

it(`a conversation holds what it promises in ${RUNS} schedules`, async () => {
  expect(await findFailure(scenarios, runConversation)).toBeUndefined();
});
