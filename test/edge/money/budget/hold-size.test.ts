import { describe, expect, test } from 'vitest';
import { usdToNanodollars } from '#edge/claude/pricing/cost.ts';
import type { MaximumCost } from '#edge/claude/pricing/hold-terms.ts';
import { decideHold } from '#edge/money/budget/budget.ts';
import { type HoldDecisionOptions, prepareHoldRequest } from '#edge/money/budget/hold-request.ts';
import { computeHoldSize } from '#edge/money/budget/hold-size.ts';
import { toLimitRules } from '#edge/money/budget/rules.ts';
import { createEmptyBudget } from '#edge/money/budget/state.ts';
import { NEVER } from '#edge/money/budget/windows.ts';

const NOW = Date.UTC(2026, 4, 1, 12);
const CENT = usdToNanodollars(0.01);

/** The request of the example: a prompt for a cent, and a cent for each 1,000 tokens. */
const REQUEST: MaximumCost = {
  inputTokens: 1_000,
  inputCost: CENT,
  outputTokens: 32_000,
  outputPrice: CENT / 1_000,
  leastOutput: 1,
  usefulOutput: 1_024,
  bounded: true,
  countable: false,
  isPriced: true,
  models: [['claude-haiku-5-5']],
};

/** @returns the numbers, and the decision, with a limit of $1.00. Amounts in cents */
function decide({ settled, held, canWait = true }: { settled: number; held: number; canWait?: boolean }) {
  const window = { by: 'token', name: 'usd_total', limit: 100 * CENT, end: NEVER } as const;
  const options: HoldDecisionOptions = {
    budgetWindows: [{ ...window, settled: settled * CENT, held: held * CENT }],
    ...(canWait && { estimateTypicalTokens: (forText) => Math.max(forText, 6_000) }),
  };
  const [budget, rules] = [createEmptyBudget(NOW), toLimitRules({})];
  return {
    size: computeHoldSize(prepareHoldRequest(budget, rules, REQUEST, NOW, options)),
    decision: decideHold(budget, rules, REQUEST, NOW, options),
  };
}

describe('computeHoldSize, with the example of its docstring', () => {
  test('holds half of the free money if that pays for more than a usual response', () => {
    const { size, decision } = decide({ settled: 30, held: 50 });
    expect(size).toMatchObject({ minimum: 1_024, preferred: 6_000, affordable: 9_000 });
    expect(decision).toMatchObject({ kind: 'admitted', maxTokens: 9_000, nanodollars: 10 * CENT });
  });

  test('waits for a usual response while other requests hold the money for it', () => {
    const { size, decision } = decide({ settled: 30, held: 65 });
    expect(size).toMatchObject({ reason: 'held', needed: 7 * CENT });
    expect(decision).toEqual(size);
  });

  test('holds half of the free money for a request that cannot wait', () => {
    const { size, decision } = decide({ settled: 30, held: 65, canWait: false });
    expect(size).toMatchObject({ minimum: 1_024, preferred: 1_024, affordable: 1_500 });
    expect(decision).toMatchObject({ kind: 'admitted', maxTokens: 1_500, nanodollars: 2.5 * CENT });
  });

  test('holds all of the free money if waiting cannot help', () => {
    const { size, decision } = decide({ settled: 95, held: 0 });
    expect(size).toMatchObject({ minimum: 1_024, preferred: 4_000, affordable: 1_500 });
    expect(decision).toMatchObject({ kind: 'admitted', maxTokens: 4_000, nanodollars: 5 * CENT });
  });
});
