import { abortAllDurableObjects, evictAllDurableObjects } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { accountStub } from '#edge/durable/stubs.ts';
import { bindings, simulate } from './conversations.ts';
import { resetAll } from './reset.ts';
import { bodyOf, say } from './turns.ts';

const alice = () => accountStub(bindings, {}, 'alice');

test.each([
  ['is in memory', () => undefined],
  ['was killed', abortAllDurableObjects],
  ['was evicted', evictAllDurableObjects],
])('an object that %s is empty after a reset', async (_, before) => {
  simulate();
  await say(bodyOf('Hello'));
  expect((await alice().requests({ limit: 10 })).data).toHaveLength(1);
  await before();
  await resetAll();
  expect((await alice().requests({ limit: 10 })).data).toEqual([]);
});
