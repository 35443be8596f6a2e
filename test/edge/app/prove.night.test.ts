/** `npm run prove` again and again: a Claude API that is as expected has no differences, whatever it says and however long it thinks. */
import { expect, test } from 'vitest';
import { runProve } from '#test/support/prove.ts';
import { proveCalls } from '../../../scripts/prove-calls.ts';

test('fifty runs of runProve with different responses report no difference', async () => {
  for (let run = 1; run <= 50; run += 1) {
    const proved = await runProve({ seed: `night ${run}`, thinking: (run * 131) % 1_700 });
    expect(proved.flatMap(({ call, differences }) => differences.map((words) => `${call.name}: ${words}`))).toEqual([]);
    expect(proved).toHaveLength(proveCalls().length);
  }
});
