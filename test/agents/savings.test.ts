import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ENOUGH_CONVERSATIONS, estimateSavings, type GroupCost } from '../../src/agents/savings.ts';
import { CHOICE_GROUPS } from '../../src/pricing/choice-sums.ts';
import { drawing } from '../support/draw.ts';
import { tryCases } from '../support/runs.ts';

const QUESTIONS = 20_000;
const REPETITIONS = 1_000;
const EASY = 0.6;
const CONTROL = 0.05;
/** What an easy question costs the small model, beside the large one. */
const PRICE = 1 / 40;
const TRUTH = 1 - (EASY * PRICE + 1 - EASY);

/** Has conversations of lognormal costs, and estimates what was saved. */
function experiment(random: () => number, sigma: number) {
  const arm = () => Array.from({ length: CHOICE_GROUPS }, (): GroupCost => ({ conversations: 0, cost: 0 }));
  const arms = { chosen: arm(), control: arm() };
  for (let nth = 0; nth < QUESTIONS; nth += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - random()));
    const angle = 2 * Math.PI * random();
    for (const normal of [radius * Math.sin(angle), radius * Math.cos(angle)]) {
      const isControl = random() < CONTROL;
      const price = random() < EASY && !isControl ? PRICE : 1;
      const group = arms[isControl ? 'control' : 'chosen'][Math.floor(random() * CHOICE_GROUPS)];
      if (!group) continue;
      group.conversations += 1;
      group.cost += Math.round(1e7 * Math.exp(sigma * normal) * price);
    }
  }
  return estimateSavings(arms.chosen, arms.control);
}

// A sigma of 0.8 has a twentieth of the conversations cost more than four times the median.
test(`of ${QUESTIONS} questions the saving is near the truth, and its interval holds the truth as often as it says`, () => {
  const draw = drawing(7);
  const random = () => draw(2 ** 31) / 2 ** 31;
  let held = 0;
  let near = 0;
  for (let n = 0; n < REPETITIONS; n += 1) {
    const { share } = experiment(random, 0.8) ?? {};
    if (share && share.low <= TRUTH && TRUTH <= share.high) held += 1;
    if (share && Math.abs(share.value - TRUTH) <= 0.05 * TRUTH) near += 1;
  }
  expect(held).toBeGreaterThanOrEqual(930);
  expect(held).toBeLessThanOrEqual(970);
  expect(near).toBeGreaterThanOrEqual(950);
}, 60_000);

const group = fc.record({ conversations: fc.nat(1_000), cost: fc.nat(10 ** 12) });
const groups = fc.array(group, { minLength: CHOICE_GROUPS, maxLength: CHOICE_GROUPS });

test('a saving is between its bounds, is a share of what there would have been, and is unknown of too few', () => {
  tryCases(100, groups, groups, fc.integer({ min: 2, max: 9 }), (chosen, control, times) => {
    const known = estimateSavings(chosen, control);
    const sizes = [chosen, control].map((arm) => arm.reduce((sum, { conversations }) => sum + conversations, 0));
    const isKnown = sizes.every((size) => size >= ENOUGH_CONVERSATIONS);
    if (!known) {
      expect(isKnown && [chosen, control].every((arm) => arm.some(({ cost }) => cost > 0))).toBe(false);
      return;
    }
    for (const { value, low, high } of [known.share, known.cost]) {
      expect(low).toBeLessThanOrEqual(value);
      expect(value).toBeLessThanOrEqual(high);
      expect(Number.isNaN(low + high)).toBe(false);
    }
    expect(known.share.high).toBeLessThanOrEqual(1);
    const dearer = (arm: readonly GroupCost[]) => arm.map((one) => ({ ...one, cost: one.cost * times }));
    const scaled = estimateSavings(dearer(chosen), dearer(control));
    expect(scaled?.share.value).toBeCloseTo(known.share.value, 9);
    expect((scaled?.cost.value ?? 0) / times / (known.cost.value || 1)).toBeCloseTo(known.cost.value ? 1 : 0, 6);
  });
});

test('arms that cost alike have saved nothing, and a choice that costs more has saved less than nothing', () => {
  const all = (cost: number) => Array.from({ length: CHOICE_GROUPS }, () => ({ conversations: 10, cost }));
  expect(estimateSavings(all(50), all(50))).toEqual({
    share: { value: 0, low: 0, high: 0 },
    cost: { value: 0, low: 0, high: 0 },
  });
  expect(estimateSavings(all(100), all(50))?.share.value).toBe(-1);
  expect(estimateSavings(all(25), all(50))?.cost.value).toBe(25 * CHOICE_GROUPS);
});
