/** Honest people are neither refused nor cut while there is money, and small requests do not wait for large ones. */
import { expect, test } from 'vitest';
import { createLabelMix, MIXES, type Mix, p95OfWaits, SPENDERS, simulateMix } from './honest-mixes.ts';
import { MAX_DURATION_MS, RUNS } from './property.ts';

/** By day those whose money is short; by night all, from as many seeds as the table in docs/holds.md. */
const isNight = RUNS > 100;
const SEEDS = Array.from({ length: isNight ? 10 : 1 }, (_, nth) => nth + 1);
const mixes = MIXES.filter(
  ({ name }) => isNight || /32k, \$2|16k, \$2|chat, Opus, `estimate`|Long search chat, Sonnet|visitors/.test(name),
);

test.each(mixes)(
  '$name',
  async (mix) => {
    const sum = {
      asked: 0,
      answered: 0,
      refused: 0,
      refusedEarly: 0,
      early: 0,
      cut: 0,
      wordless: 0,
      compared: 0,
      saidWrong: 0,
      misled: 0,
    };
    for (const seed of SEEDS) {
      const told = await simulateMix(mix, seed);
      const { answered, refused, refusedWithRoom, refusedEarly, early, cutWithMoney, wordless } = told;
      sum.asked += answered + refused;
      sum.answered += answered;
      sum.refusedEarly += refusedEarly;
      sum.refused += refusedWithRoom;
      sum.early += early;
      sum.cut += cutWithMoney;
      sum.wordless += wordless;
      sum.compared += told.compared;
      sum.saidWrong += told.saidWrong;
      sum.misled += told.misled;
    }
    expect(sum.early).toBeGreaterThan(40);
    expect(sum.refused / sum.asked).toBeLessThanOrEqual(0.01);
    expect(sum.cut / sum.early).toBeLessThanOrEqual(0.01);
    expect(sum.wordless).toBe(0);
    // Of the budget each answer says what the ledger says, and who is told that the last question fits is not refused for it.
    expect(sum).toMatchObject({ saidWrong: 0, misled: 0 });
    // Of an account with many callers hardly any answer is alone, and of a shared budget alone answers say nothing.
    if (mix.shared !== undefined && mix.limits.usd_per_day !== undefined)
      expect(sum.compared / sum.answered).toBeGreaterThan(0.9);
    // A limit pays for some fifteen of its longest requests.
    if (mix.name.startsWith('Long')) expect(sum.refusedEarly / sum.asked).toBeLessThanOrEqual(0.01);
  },
  MAX_DURATION_MS,
);

test("responses to a single caller report the ledger's budget, and no request reported to fit is rejected", async () => {
  const { answered, compared, saidWrong, misled, saidNot } = await simulateMix(SPENDERS, 1);
  expect(answered).toBeGreaterThan(40);
  expect([compared, saidWrong, misled]).toEqual([answered, 0, 0]);
  // Each hears once, with the last answer, that no other fits: but for those whose last answer was so long that the next needs more.
  expect(saidNot).toBeGreaterThanOrEqual(36);
  expect(saidNot).toBeLessThanOrEqual(40);
});

/** Milliseconds of the simulated clock that the count of a prompt takes: a request that the budget does not cover at once is counted before it waits. */
const COUNT_MS = 50;

test('the p95 wait of small requests is at most 1.05 seconds longer while large requests wait', async () => {
  const timesOf = async (mix: Mix) => {
    const { waits, refused } = await simulateMix(mix, 1);
    return { ms: p95OfWaits(waits.filter(({ model }) => model === 'claude-haiku-5-5')), refused };
  };
  const alone = await timesOf(createLabelMix(0));
  // Three fit, and each of the others waits for 30 s.
  for (const mix of [createLabelMix(4), createLabelMix(12, [4, 4])]) {
    const beside = await timesOf(mix);
    expect(beside.refused).toBeGreaterThan(5);
    expect(beside.ms).toBeLessThanOrEqual(alone.ms + 1_000 + COUNT_MS);
  }
});
