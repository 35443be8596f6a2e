import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CROWDS, type Outcome, runCrowd } from './parallel.ts';
import { MAX_DURATION_MS, RUNS, SEED } from './property.ts';

/** How often each crowd asks: by day twice, at night forty times from each of five seeds. */
const TIMES = Math.ceil(RUNS / 50);

test(
  'at least 99 % of concurrent requests are admitted with enough max_tokens for their responses if the budget covers all',
  async () => {
    for (const crowd of CROWDS) {
      const sum: Outcome = { asked: 0, refused: 0, clipped: 0 };
      const one = fc.asyncProperty(fc.scheduler(), async (scheduler) => {
        const { asked, refused, clipped } = await runCrowd(scheduler, crowd);
        sum.asked += asked;
        sum.refused += refused;
        sum.clipped += clipped;
      });
      await fc.assert(one, { numRuns: TIMES, seed: SEED });
      expect.soft(sum.refused + sum.clipped, JSON.stringify(crowd)).toBeLessThanOrEqual(sum.asked / 100);
    }
  },
  MAX_DURATION_MS,
);
