import { expect, test } from 'vitest';
import { callObject } from '../../src/durable/call-object.ts';

const LOST = { retryable: true };
const OVERLOADED = { retryable: true, overloaded: true };

test.each([
  ['was refused by an overloaded object alone has not run', [OVERLOADED], false],
  [
    'was lost, and then refused by an overloaded object, may have run: what it has set aside must be settled',
    [LOST, OVERLOADED],
    true,
  ],
  ['was lost twice may have run', [LOST, LOST], true],
  ['broke for good may have run', [{}], true],
])('a call that %s', async (_, failures, mayHaveRun) => {
  const left = [...failures];
  const called = callObject('account', () => Promise.reject(Object.assign(new Error('no'), left.shift())));
  await expect(called).rejects.toMatchObject({ status: 503, mayHaveRun });
  expect(left).toEqual([]);
});
