import { abortAllDurableObjects, evictAllDurableObjects } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { bindings, installSimulator } from './conversations.ts';
import { resetAll } from './reset.ts';
import { createBody, runTurn } from './turns.ts';

const alice = () => getAccountStub(bindings, {}, 'alice');

test.each([
  ['is in memory', () => undefined],
  ['was killed', abortAllDurableObjects],
  ['was evicted', evictAllDurableObjects],
])('an object that %s is empty after a reset', async (_, before) => {
  installSimulator();
  await runTurn(createBody('Hello'));
  expect((await alice().listRequests({ limit: 10 })).data).toHaveLength(1);
  await before();
  await resetAll();
  expect((await alice().listRequests({ limit: 10 })).data).toEqual([]);
});
