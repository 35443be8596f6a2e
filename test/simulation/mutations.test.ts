/** Each mistake shows under the schedule that is recorded for it. By night all are hunted by chance. */
import { afterAll, expect, test } from 'vitest';
import { Simulations } from './linked.ts';
import { MUTATIONS } from './mutations.ts';
import { recorded, replay } from './recorded.ts';

const simulations = await Simulations.load();

afterAll(() => simulations.end());

test.each(MUTATIONS)('$object: $name', async (mutation) => {
  const fault = await replay(simulations, mutation).catch((thrown: Error) => thrown.message);
  expect(fault, `npm run hunt -- --record ${JSON.stringify(mutation.name)}`).toBeUndefined();
});

test('no schedule is recorded for a mistake that is gone', () => {
  expect(Object.keys(recorded)).toEqual(MUTATIONS.map(({ name }) => name));
});
