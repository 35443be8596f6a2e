import { expect, test } from 'vitest';
import { huntAll } from './hunt.ts';
import { MUTATIONS } from './mutations.ts';

test('the simulation finds each of the mistakes that are put into the source', async () => {
  expect(MUTATIONS.length).toBeGreaterThanOrEqual(10);
  const told: string[] = [];
  expect(await huntAll(MUTATIONS, (line) => told.push(line))).toEqual([]);
  expect(told).toHaveLength(MUTATIONS.length);
});
