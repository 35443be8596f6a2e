import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ModelTable } from '#edge/claude/models/models.ts';
import { usdToNanodollars } from '#edge/claude/pricing/cost.ts';
import type { MaximumCost } from '#edge/claude/pricing/hold-terms.ts';
import { computeMaximumCost } from '#edge/claude/pricing/maximum-cost.ts';
import { DAY_MS } from '#edge/kit/async/durations.ts';
import { ESTIMATE_HELPS } from '#edge/money/budget/advice.ts';
import { computeBucketCapacity, computeUnitsInBucket } from '#edge/money/budget/bucket.ts';
import { admitCountRequest, decideHold, type HoldDecision } from '#edge/money/budget/budget.ts';
import { createBudgetWindows } from '#edge/money/budget/budget-windows.ts';
import type { HoldDecisionOptions } from '#edge/money/budget/hold-request.ts';
import type { Limits } from '#edge/money/budget/limits.schema.ts';
import { CEILING, type LimitRules, toLimitRules } from '#edge/money/budget/rules.ts';
import {
  ABANDONED_STAGE,
  addHold,
  advanceBudgetTo,
  BATCH_STAGE,
  type Budget,
  computeBucketsAfterAdmission,
  computeBucketsAfterSettlement,
  createEmptyBudget,
  settleHoldInBudget,
  takeTokenCountFromBucket,
} from '#edge/money/budget/state.ts';
import { findCalendarWindowAt, getUsdLimitName, NEVER, PERIODS } from '#edge/money/budget/windows.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';
import { NOON, worstCaseWith } from '../account/admission-requests.ts';

let ids = 0;

function admit(budget: Budget, rules: LimitRules, bound: MaximumCost, now: number): HoldDecision & { id: string } {
  const decision = decideHold(budget, rules, bound, now);
  const id = `req_${++ids}`;
  if (decision.kind === 'admitted') {
    const { nanodollars, inputTokens, outputTokens, maxTokens } = decision;
    const at = budget.last;
    const hold = { id, at, deadline: at + 900_000, nanodollars, inputTokens, outputTokens, maxTokens, stage: '' };
    addHold(budget, hold, computeBucketsAfterAdmission(budget, rules));
  }
  return { ...decision, id };
}

function end(budget: Budget, rules: LimitRules, id: string, cost: number, inputTokens = 0, outputTokens = 0): void {
  const hold = budget.holds.get(id);
  if (!hold) throw new Error(`${id} has no hold`);
  settleHoldInBudget(budget, hold, cost, computeBucketsAfterSettlement(budget, rules, { inputTokens, outputTokens }));
}

const usd = (nanodollars: number) => nanodollars / 1e9;

describe('limits in USD', () => {
  test('admit exactly as many requests as their holds fit', () => {
    const rules = toLimitRules({ usd_per_day: usd(11_000 * 137 + 10_999), on_shortfall: 'refuse' });
    const budget = createEmptyBudget(NOON);
    const answers = Array.from({ length: 1_000 }, () => admit(budget, rules, worstCaseWith(), NOON).kind);
    expect(answers.filter((kind) => kind === 'admitted')).toHaveLength(137);
  });

  test('release the unused part of a hold when it is settled', () => {
    const rules = toLimitRules({ usd_per_day: usd(11_000), on_shortfall: 'refuse' });
    const budget = createEmptyBudget(NOON);
    const { id } = admit(budget, rules, worstCaseWith(), NOON);
    expect(admit(budget, rules, worstCaseWith(), NOON)).toMatchObject({
      kind: 'refused',
      reason: 'held',
      never: false,
    });
    end(budget, rules, id, 0);
    expect(admit(budget, rules, worstCaseWith(), NOON).kind).toBe('admitted');
  });

  test('return a short Retry-After for held budget, and the window’s end for spent budget', () => {
    const rules = toLimitRules({ usd_per_day: usd(20_000), on_shortfall: 'refuse' });
    const budget = createEmptyBudget(NOON);
    const { id } = admit(budget, rules, worstCaseWith(), NOON);
    expect(admit(budget, rules, worstCaseWith(), NOON)).toMatchObject({
      reason: 'held',
      limit: 'usd_per_day',
      retryAfter: 2,
      resetsAt: NOON + 2_000,
      needed: 11_000,
      left: 9_000,
    });
    end(budget, rules, id, 9_001);
    expect(admit(budget, rules, worstCaseWith(), NOON)).toMatchObject({
      reason: 'spend',
      limit: 'usd_per_day',
      resetsAt: findCalendarWindowAt('day', NOON).end,
      never: false,
      left: 10_999,
    });
    // Both: it is the window that must end.
    admit(budget, rules, worstCaseWith({ outputTokens: 0 }), NOON);
    expect(admit(budget, rules, worstCaseWith(), NOON)).toMatchObject({ reason: 'spend', left: 9_999 });
  });

  test('return the end of the exceeded window that resets last', () => {
    const rules = toLimitRules({ usd_per_day: usd(5), usd_per_month: usd(5), usd_per_week: 1 });
    expect(decideHold(createEmptyBudget(NOON), rules, worstCaseWith(), NOON)).toEqual({
      kind: 'refused',
      reason: 'spend',
      by: 'account',
      limit: 'usd_per_month',
      resetsAt: Date.parse('2026-12-01T00:00:00Z'),
      retryAfter: 907_200,
      needed: 3_560,
      left: 5,
      never: true,
      advice:
        'A useful response needs at least 256 tokens. Use a cheaper model, or ask an admin to lower min_output_tokens.',
    });
  });

  test('return the window’s end, or a day after the batch began, if a batch’s hold is in the way', () => {
    const rules = toLimitRules({ usd_per_week: usd(20_000), on_shortfall: 'refuse' });
    const batchAt = (budget: Budget, at: number, nanodollars: number) => {
      const hold = { id: `batch_${++ids}`, at, deadline: at + 35 * DAY_MS, nanodollars, stage: BATCH_STAGE };
      addHold(budget, { ...hold, inputTokens: 0, outputTokens: 0, maxTokens: 0 }, budget.fullAt);
    };
    // Friday noon: a day later the week goes on.
    const budget = createEmptyBudget(NOON);
    batchAt(budget, NOON, 15_000);
    const refusal = admit(budget, rules, worstCaseWith(), NOON);
    expect(refusal).toMatchObject({ reason: 'held', byBatch: true, retryAfter: 86_400, resetsAt: NOON + DAY_MS });
    const daily = toLimitRules({ usd_per_day: usd(20_000), on_shortfall: 'refuse' });
    const midnight = Date.UTC(2026, 10, 21);
    expect(admit(budget, daily, worstCaseWith(), NOON)).toMatchObject({ byBatch: true, resetsAt: midnight });
    // Beside a small batch it is the running request that holds what is missing.
    const running = createEmptyBudget(NOON);
    batchAt(running, NOON, 5_000);
    expect(admit(running, rules, worstCaseWith(), NOON).kind).toBe('admitted');
    const soon = admit(running, rules, worstCaseWith(), NOON);
    expect(soon).toMatchObject({ reason: 'held', retryAfter: 2 });
    expect(soon).not.toHaveProperty('byBatch');
  });

  test('advise a shorter request only if the input is the largest cost and a shorter one would fit', () => {
    const adviceOf = (more: Partial<MaximumCost>, limits: Limits = {}) => {
      const decision = decideHold(
        createEmptyBudget(NOON),
        toLimitRules({ usd_per_day: usd(5), ...limits }),
        worstCaseWith(more),
        NOON,
      );
      return decision.kind === 'refused' ? decision.advice : undefined;
    };
    expect(adviceOf({ inputCost: 1_000, outputPrice: 10 })).toContain('A useful response needs at least 256 tokens');
    const unlowered = { inputTokens: 32, inputCost: 1_000, outputPrice: 10 };
    const refusing = { on_shortfall: 'refuse' } as const;
    expect(adviceOf(unlowered, { ...refusing, usd_per_day: usd(1_010) })).toContain('Lower max_tokens (1000)');
    expect(adviceOf(unlowered, { ...refusing, usd_per_day: usd(1_009) })).toContain('The limit is too low for any');
    const long = { inputTokens: 1_000, inputCost: 9_000, outputPrice: 10 };
    expect(adviceOf(long, { usd_per_day: usd(2_848) })).toContain('Send a shorter request');
    expect(adviceOf(long, { usd_per_day: usd(2_847) })).toContain('The limit is too low for any request.');
    expect(adviceOf(long, { usd_per_day: usd(2_559) })).toContain('A useful response needs');
    // “Hi” is as short as a question can be.
    expect(adviceOf({ inputTokens: 12, inputCost: 900, outputPrice: 1 }, { usd_per_day: usd(1_000) })).toContain(
      'The limit is too low for any request.',
    );
  });

  test('advise which change would make an oversized request fit', () => {
    const advice = (given: Limits, more: Partial<MaximumCost>) => {
      const decision = decideHold(createEmptyBudget(NOON), toLimitRules(given), worstCaseWith(more), NOON);
      return decision.kind === 'refused' && decision.never ? decision.advice : decision;
    };
    // Two uses at 10,000 and their output beside a first prompt of 1,000; estimated at 2,000 each.
    const served = {
      tool: 'web_search',
      single: true,
      lacksMaxUses: false,
      uses: 2,
      inputTokens: 500,
      inputCost: 5_000,
      useCost: 10_000,
      estimatedUseCost: 2_000,
      useOutputPrice: 10,
    };
    const searching = { inputCost: 21_000, outputPrice: 30, serverTools: served };
    const exact = { usd_per_day: usd(28_679) };
    expect(
      decideHold(createEmptyBudget(NOON), toLimitRules({ usd_per_day: usd(28_680) }), worstCaseWith(searching), NOON)
        .kind,
    ).toBe('admitted');
    expect(advice(exact, searching)).toBe(
      `To reduce the cost of web_search, lower max_uses to 1, or ${ESTIMATE_HELPS}.`,
    );
    const two = { ...searching, serverTools: { ...served, single: false } };
    expect(advice(exact, two)).toBe(`To reduce the cost of web_search, ${ESTIMATE_HELPS}.`);
    const estimating = { served_tools: 'estimate' } as const;
    expect(
      decideHold(createEmptyBudget(NOON), toLimitRules({ ...exact, ...estimating }), worstCaseWith(searching), NOON),
    ).toMatchObject({
      kind: 'admitted',
      inputTokens: 500,
    });
    expect(advice({ usd_per_day: usd(12_679), ...estimating }, searching)).toBe(
      'To reduce the cost of web_search, lower max_uses to 1.',
    );
    expect(advice({ usd_per_day: usd(5_000) }, searching)).toBe(
      'Remove the tool web_search, or ask an admin to raise the limit.',
    );
    const endless = { ...searching, serverTools: { ...served, lacksMaxUses: true } };
    expect(advice({ usd_per_day: usd(5_000) }, endless)).toBe('To reduce the cost of web_search, set max_uses.');
    expect(advice(exact, endless)).toContain('set max_uses to 1 or less');
    expect(advice({ usd_per_day: usd(5) }, { unboundedReason: 'a document by URL', inputCost: 2_560 })).toBe(
      'The size of a document by URL is not known. Send its content in the request.',
    );
    expect(advice({ usd_per_day: 0 }, {})).toBeUndefined();
  });

  test('advise how many tool uses would fit in the remaining budget', () => {
    const served = {
      tool: 'web_search',
      single: true,
      lacksMaxUses: true,
      uses: 9,
      inputTokens: 500,
      inputCost: 1e9,
      useCost: 10_000,
      estimatedUseCost: 10_000,
      useOutputPrice: 10,
    };
    const searching = worstCaseWith({ inputCost: 91_000, outputPrice: 100, serverTools: served });
    const purse = { by: 'token', name: 'usd_total', limit: 160_000, settled: 100_000, held: 0, end: NEVER } as const;
    const decision = decideHold(createEmptyBudget(NOON), toLimitRules({}), searching, NOON, { budgetWindows: [purse] });
    // 1,000 and 2,560 for the first step, and 12,560 for each use.
    expect(decision).toMatchObject({
      kind: 'refused',
      reason: 'spend',
      never: false,
      advice: 'To reduce the cost of web_search, set max_uses to 4 or less.',
    });
  });

  test('advise on the largest part of the cost', () => {
    const cost = fc.nat(30_000);
    const drawn = fc.record({
      input: cost,
      use: cost,
      estimated: cost,
      outputPrice: fc.nat(60),
      useOutputPrice: fc.nat(30),
    });
    const seen = new Set<string>();
    tryCases(caseCount(2_000), drawn, fc.nat(3), fc.boolean(), fc.boolean(), (prices, uses, estimates, isUnknown) => {
      const { input, use, estimated, outputPrice, useOutputPrice } = prices;
      const served = {
        tool: 'web_search',
        single: true,
        lacksMaxUses: false,
        uses,
        inputTokens: 500,
        useOutputPrice,
        inputCost: input + uses * estimated,
        useCost: use,
        estimatedUseCost: estimated,
      };
      const asked = worstCaseWith({
        inputCost: input + uses * use,
        outputPrice: outputPrice + uses * useOutputPrice,
        ...(uses > 0 && { serverTools: served }),
        ...(isUnknown && { unboundedReason: 'a document by URL' }),
      });
      const limit = 12_000;
      const rules = toLimitRules({ usd_per_day: usd(limit), ...(estimates && { served_tools: 'estimate' }) });
      const decision = decideHold(createEmptyBudget(NOON), rules, asked, NOON);
      if (decision.kind !== 'refused' || decision.advice === undefined) return;
      const [, blamed = 'nothing'] =
        /(web_search|a document by URL|Send a shorter request|A useful response)/.exec(decision.advice) ?? [];
      const answer = 256 * outputPrice;
      const parts = {
        web_search: uses * ((estimates ? estimated : use) + 256 * useOutputPrice),
        [isUnknown ? 'a document by URL' : 'Send a shorter request']: input,
        'A useful response': answer,
      };
      const tokens = estimates && uses > 0 ? served.inputTokens : asked.inputTokens;
      const isShorterTooLong = answer + (input * 32) / tokens > limit;
      if (!isUnknown && isShorterTooLong && input === Math.max(...Object.values(parts)) && parts[blamed] !== input) {
        expect(blamed).toBe(answer > limit ? 'A useful response' : 'nothing');
        return;
      }
      expect(blamed === 'Send a shorter request' && isShorterTooLong).toBe(false);
      expect(parts[blamed]).toBe(Math.max(...Object.values(parts)));
      seen.add(blamed);
    });
    expect([...seen].sort()).toEqual([
      'A useful response',
      'Send a shorter request',
      'a document by URL',
      'web_search',
    ]);
  });

  test('settle costs above the hold in full, and reject the next request', () => {
    const rules = toLimitRules({ usd_per_day: usd(20_000) });
    const budget = createEmptyBudget(NOON);
    const { id } = admit(budget, rules, worstCaseWith(), NOON);
    end(budget, rules, id, 50_000);
    expect(budget.windows.day.settled).toBe(50_000);
    expect(admit(budget, rules, worstCaseWith({ outputTokens: 0 }), NOON)).toMatchObject({ reason: 'spend', left: 0 });
    expect(admit(budget, rules, worstCaseWith(), NOON + 86_400_000).kind).toBe('admitted');
  });

  test('count a hold in the window in which it was admitted', () => {
    const rules = toLimitRules({ usd_per_day: usd(11_000), usd_per_month: usd(100_000), on_shortfall: 'refuse' });
    const budget = createEmptyBudget(NOON);
    const { id } = admit(budget, rules, worstCaseWith(), NOON);
    const tomorrow = NOON + 86_400_000;
    expect(admit(budget, rules, worstCaseWith(), tomorrow).kind).toBe('admitted');
    end(budget, rules, id, 11_000);
    expect(budget.windows.day).toMatchObject({ settled: 0, held: 11_000 });
    expect(budget.windows.month).toMatchObject({ settled: 11_000, held: 11_000 });
  });

  test('reject requests that would exceed the largest exact sum, also for accounts without limits', () => {
    const budget = createEmptyBudget(NOON);
    const dear = worstCaseWith({ inputCost: 1e15, outputTokens: 0 });
    const kinds = Array.from({ length: 12 }, () => admit(budget, toLimitRules({}), dear, NOON).kind);
    expect(kinds.filter((kind) => kind === 'admitted')).toHaveLength(9);
  });
});

describe('lowering max_tokens', () => {
  const rules = toLimitRules({ usd_per_day: usd(5_000) });

  test('uses at most half of the available budget, or the least that the request needs', () => {
    const budget = createEmptyBudget(NOON);
    const wider = toLimitRules({ usd_per_day: usd(16_000) });
    expect(admit(budget, wider, worstCaseWith(), NOON)).toMatchObject({ maxTokens: 700, nanodollars: 8_000 });
    expect(admit(budget, wider, worstCaseWith(), NOON)).toMatchObject({ maxTokens: 300, nanodollars: 4_000 });
    // Half of what is free is less than it needs at the least.
    expect(admit(budget, wider, worstCaseWith(), NOON)).toMatchObject({ maxTokens: 256, nanodollars: 3_560 });
    expect(admit(budget, wider, worstCaseWith(), NOON)).toMatchObject({ reason: 'held', left: 440 });
  });

  test('does not happen if it saves less than a tenth and the whole request fits', () => {
    const searching = worstCaseWith({ inputCost: 6_000, outputTokens: 350 });
    const of = (nanodollars: number, more: Partial<MaximumCost> = {}) =>
      decideHold(
        createEmptyBudget(NOON),
        toLimitRules({ usd_per_day: usd(nanodollars) }),
        { ...searching, ...more },
        NOON,
      );
    const whole = { maxTokens: 350, nanodollars: 9_500 };
    // 256 tokens would save 940.
    for (const free of [9_500, 12_000, 19_000]) expect(of(free)).toMatchObject(whole);
    expect(of(9_499)).toMatchObject({ maxTokens: 256, nanodollars: 8_560 });
    // Here they would save 960 of 9,520, until half of what is free pays for one more.
    const longer = { outputTokens: 352 };
    for (const free of [9_520, 17_139]) expect(of(free, longer)).toMatchObject({ maxTokens: 256 });
    expect(of(17_140, longer)).toMatchObject({ maxTokens: 352, nanodollars: 9_520 });
    // An input that can still be counted may be no more than half.
    expect(of(9_500, { countable: true }).kind).toBe('count_needed');
    // The tightest purse decides, whose ever it is, and what others hold is not free.
    const purse = { by: 'token', name: 'usd_total', limit: 9_499, settled: 0, held: 0, end: NEVER } as const;
    const rules = toLimitRules({ usd_per_day: usd(11_000) });
    const by = (more: object) => {
      const purses = [...createBudgetWindows(createEmptyBudget(NOON), rules), { ...purse, ...more }];
      return decideHold(createEmptyBudget(NOON), rules, searching, NOON, { budgetWindows: purses });
    };
    expect(by({})).toMatchObject({ maxTokens: 256 });
    expect(by({ limit: 11_500, held: 1_000, settled: 1_000 })).toMatchObject(whole);
    expect(by({ limit: 11_500, held: 1_000, settled: 1_001 })).toMatchObject({ maxTokens: 256 });
    const tokens = toLimitRules({ usd_per_day: usd(11_000), output_tokens_per_minute: 600 });
    expect(decideHold(createEmptyBudget(NOON), tokens, searching, NOON)).toMatchObject({
      maxTokens: 300,
      nanodollars: 9_000,
    });
  });

  test('never holds less if more budget is available', () => {
    const money = fc.integer({ min: 0, max: 40_000 });
    const asked = fc.record({ inputCost: fc.nat(20_000), outputTokens: fc.nat(2_000), usefulOutput: fc.nat(600) });
    const around = fc.record({ held: fc.nat(9_000), typical: fc.option(fc.nat(2_000), { nil: undefined }) });
    tryCases(caseCount(2_000), money, money, asked, around, (one, other, more, { held, typical }) => {
      const of = (free: number) => {
        const purse = { by: 'token', name: 'usd_total', limit: free + held, settled: 0, held, end: NEVER } as const;
        const circumstances = {
          budgetWindows: [purse],
          ...(typical !== undefined && { estimateTypicalTokens: () => typical }),
        };
        return decideHold(createEmptyBudget(NOON), toLimitRules({}), worstCaseWith(more), NOON, circumstances);
      };
      const [less, most] = [of(Math.min(one, other)), of(Math.max(one, other))];
      // Who can wait may get even more later.
      const waits = typical !== undefined && held > 0 && most.kind === 'refused' && most.reason === 'held';
      if (less.kind === 'admitted' && !waits) expect(most).toMatchObject({ kind: 'admitted' });
      if (less.kind === 'admitted' && most.kind === 'admitted')
        expect(most.maxTokens).toBeGreaterThanOrEqual(less.maxTokens);
    });
  });

  test('lets a request wait for at most the unspent budget, and then use all of it', () => {
    const decided = (held: number) => {
      const purse = { by: 'token', name: 'usd_total', limit: 20_000, settled: 8_000, held, end: NEVER } as const;
      // It is likely to take 19,000 nanodollars beside its input. 11,000 of these are left.
      const circumstances = { budgetWindows: [purse], estimateTypicalTokens: () => 1_900 };
      const asked = worstCaseWith({ outputTokens: 2_000, usefulOutput: 100 });
      return decideHold(createEmptyBudget(NOON), toLimitRules({}), asked, NOON, circumstances);
    };
    expect(decided(9_000)).toMatchObject({ reason: 'held', by: 'token', needed: 12_000 });
    expect(decided(0)).toMatchObject({ kind: 'admitted', maxTokens: 1_100 });
  });

  test('reports which limit lowered max_tokens, and when that limit resets', () => {
    const END = '2026-05-02T00:00:00.000Z';
    const of = (limits: Limits, circumstances: HoldDecisionOptions = {}, budget = createEmptyBudget(NOON)) => {
      const rules = toLimitRules(limits);
      const purses = [...createBudgetWindows(budget, rules), ...(circumstances.budgetWindows ?? [])];
      const decision = decideHold(budget, rules, worstCaseWith(), NOON, { ...circumstances, budgetWindows: purses });
      return decision.kind === 'admitted' ? decision.loweredBy : decision;
    };
    const day = new Date(findCalendarWindowAt('day', NOON).end).toISOString();
    expect(of({ usd_per_day: usd(16_000) })).toEqual({ by: 'account', limit: 'usd_per_day', resets_at: day });
    expect(of({ usd_total: usd(16_000), usd_per_day: usd(16_001) })).toEqual({
      by: 'account',
      limit: 'usd_total',
      resets_at: null,
    });
    // Of two that are as tight, the one that stays so.
    const month = {
      by: 'account',
      limit: 'usd_per_month',
      resets_at: new Date(findCalendarWindowAt('month', NOON).end).toISOString(),
    };
    expect(of({ usd_per_day: usd(16_000), usd_per_month: usd(16_000) })).toEqual(month);
    // The least is left of it, not the least allowed.
    const group = {
      by: 'group',
      name: 'usd_per_day',
      limit: 90_000,
      settled: 70_000,
      held: 5_000,
      end: Date.parse(END),
    } as const;
    expect(of({ usd_per_day: usd(16_000) }, { budgetWindows: [group] })).toMatchObject({
      by: 'group',
      limit: 'usd_per_day',
      resets_at: END,
    });
    // A run may have all of its own limit, and half of what is free.
    const run = { by: 'run', limit: 'max_usd', resets_at: null };
    expect(of({ usd_per_day: usd(16_000) }, { costLimit: 7_999 })).toEqual(run);
    expect(of({ usd_per_day: usd(16_000) }, { costLimit: 8_001 })).toMatchObject({ by: 'account' });
    const rate = { by: 'account', limit: 'output_tokens_per_minute' };
    expect(of({ output_tokens_per_minute: 1_000 })).toEqual({ ...rate, resets_at: null });
    const used = createEmptyBudget(NOON);
    used.fullAt.output = NOON + 6_000;
    const full = new Date(NOON + 6_000).toISOString();
    expect(of({ output_tokens_per_minute: 1_000, usd_per_day: usd(16_000) }, {}, used)).toEqual({
      ...rate,
      resets_at: full,
    });
    // The bucket is wider than the money.
    expect(of({ output_tokens_per_minute: 2_000, usd_per_day: usd(16_000) })).toMatchObject({ limit: 'usd_per_day' });
    for (const limits of [{}, { usd_per_day: 1 }, { output_tokens_per_minute: 2_000 }])
      expect(of(limits)).toBeUndefined();
  });

  test('is reported exactly if max_tokens is lowered', () => {
    const money = fc.integer({ min: 4_000, max: 40_000 });
    tryCases(
      caseCount(2_000),
      money,
      money,
      fc.integer({ min: 300, max: 4_000 }),
      fc.boolean(),
      (free, most, rate, refuses) => {
        const limits: Limits = { usd_per_day: usd(free), output_tokens_per_minute: rate };
        const rules = toLimitRules({ ...limits, ...(refuses && { on_shortfall: 'refuse' }) });
        const decision = decideHold(createEmptyBudget(NOON), rules, worstCaseWith(), NOON, { costLimit: most });
        if (decision.kind !== 'admitted') return;
        expect(decision.loweredBy !== undefined).toBe(decision.maxTokens < 1_000);
        const { limit } = decision.loweredBy ?? {};
        // A higher limit elsewhere would not have helped. (At the least that an answer may have, none is tighter.)
        const bound = { usd_per_day: free / 2, max_usd: most, output_tokens_per_minute: 1_000 + (rate / 2) * 10 };
        if (limit !== undefined && decision.maxTokens > 256)
          expect(bound[limit as keyof typeof bound]).toBeLessThan(Math.min(...Object.values(bound)) + 20);
      },
    );
  });

  test('affects a chat with web search on $10 a day only once less than its maximum cost remains', () => {
    const tools = [{ type: 'web_search_20260209', name: 'web_search', max_uses: 2 }];
    const messages = [{ role: 'user', content: 'What is new?' }];
    const body = { model: 'claude-sonnet-5-5', max_tokens: 8_192, messages, tools };
    const { maximumCost: worstCase } = computeMaximumCost(body, {
      bytes: JSON.stringify(body).length,
      models: new ModelTable(),
    });
    const { inputCost, outputTokens, outputPrice } = worstCase;
    const whole = inputCost + outputTokens * outputPrice;
    const daily = toLimitRules({ usd_per_day: 10 });
    const budget = createEmptyBudget(NOON);
    let uncut = 0;
    while (usdToNanodollars(10) - budget.windows.day.settled >= whole) {
      const decision = admit(budget, daily, worstCase, NOON);
      expect(decision).toMatchObject({ maxTokens: 8_192, nanodollars: whole });
      uncut += 1;
      end(budget, daily, decision.id, usdToNanodollars(0.05));
    }
    expect(uncut).toBeGreaterThan(50);
    // Sonnet 5.5 thinks at effort high.
    expect(admit(budget, daily, worstCase, NOON)).toMatchObject({ kind: 'admitted', maxTokens: 4_096 });
  });

  test('stops at min_output_tokens', () => {
    const low = toLimitRules({ usd_per_day: usd(1_000 + 2_550) });
    expect(decideHold(createEmptyBudget(NOON), low, worstCaseWith(), NOON)).toMatchObject({
      reason: 'spend',
      needed: 3_560,
    });
    expect(decideHold(createEmptyBudget(NOON), low, worstCaseWith({ outputTokens: 255 }), NOON).kind).toBe('admitted');
    const lower = toLimitRules({ usd_per_day: usd(1_100), min_output_tokens: 10 });
    expect(decideHold(createEmptyBudget(NOON), lower, worstCaseWith(), NOON)).toMatchObject({ maxTokens: 10 });
  });

  test('leaves tokens for text beside thinking, unless min_output_tokens is lower', () => {
    const thinks = worstCaseWith({ outputTokens: 9_000, usefulOutput: 2_048 });
    const enough = toLimitRules({ usd_per_day: usd(1_000 + 20_480) });
    expect(decideHold(createEmptyBudget(NOON), enough, thinks, NOON)).toMatchObject({ maxTokens: 2_048 });
    const less = { usd_per_day: usd(1_000 + 20_479) };
    expect(decideHold(createEmptyBudget(NOON), toLimitRules(less), thinks, NOON)).toMatchObject({
      reason: 'spend',
      advice: expect.stringContaining('A response needs at least 2048 tokens, because the model can think'),
    });
    const set = toLimitRules({ ...less, min_output_tokens: 100 });
    expect(decideHold(createEmptyBudget(NOON), set, thinks, NOON).kind).toBe('admitted');
    // Never more than was asked.
    const asked = worstCaseWith({ outputTokens: 300, usefulOutput: 2_048 });
    expect(decideHold(createEmptyBudget(NOON), toLimitRules({ usd_per_day: usd(4_000) }), asked, NOON)).toMatchObject({
      maxTokens: 300,
    });
    expect(decideHold(createEmptyBudget(NOON), toLimitRules({ usd_per_day: usd(3_999) }), asked, NOON)).toMatchObject({
      advice: expect.stringContaining('max_tokens (300) cannot be lowered'),
    });
  });

  test('keeps max_tokens above the thinking budget', () => {
    expect(decideHold(createEmptyBudget(NOON), rules, worstCaseWith({ leastOutput: 401 }), NOON)).toMatchObject({
      reason: 'spend',
      never: true,
    });
    expect(decideHold(createEmptyBudget(NOON), rules, worstCaseWith({ leastOutput: 400 }), NOON)).toMatchObject({
      maxTokens: 400,
    });
  });

  test('admits a request with max_tokens 128,000 on a dollar a day', () => {
    const bound = worstCaseWith({
      inputTokens: 500,
      inputCost: 500 * 4_400,
      outputTokens: 128_000,
      outputPrice: 22_000,
    });
    const decision = decideHold(createEmptyBudget(NOON), toLimitRules({ usd_per_day: 1 }), bound, NOON);
    expect(decision).toMatchObject({ kind: 'admitted', maxTokens: 22_627 });
  });

  test('admits a request with max_tokens 0', () => {
    expect(decideHold(createEmptyBudget(NOON), rules, worstCaseWith({ outputTokens: 0 }), NOON)).toMatchObject({
      maxTokens: 0,
    });
  });

  test('is disabled by on_shortfall: refuse', () => {
    const strict = toLimitRules({ usd_per_day: usd(5_000), on_shortfall: 'refuse' });
    expect(decideHold(createEmptyBudget(NOON), strict, worstCaseWith(), NOON)).toMatchObject({
      reason: 'spend',
      needed: 11_000,
    });
  });
});

describe('a later try', () => {
  const worstCase = worstCaseWith({ outputTokens: 300 });
  const again = (given: Limits, more: HoldDecisionOptions) =>
    decideHold(createEmptyBudget(NOON), toLimitRules(given), worstCase, NOON, more);

  test('is admitted in full under any limit in USD, regardless of the cost of earlier tries', () => {
    const purse = { by: 'token', name: 'usd_total', limit: 1e9, settled: 0, held: 0, end: NEVER } as const;
    const limited: [Limits, HoldDecisionOptions][] = [
      [{}, {}],
      [{ requests_per_minute: 9 }, {}],
      [{ concurrent_requests: 9, on_shortfall: 'refuse' }, {}],
      ...PERIODS.map((period): [Limits, HoldDecisionOptions] => [{ [getUsdLimitName(period)]: 1 }, {}]),
      [{}, { budgetWindows: [purse] }],
      [{}, { budgetWindows: [{ ...purse, by: 'group' }] }],
      [{}, { costLimit: 1e9 }],
    ];
    for (const [given, more] of limited) {
      for (const earlier of [1, 3_999, 40_000])
        expect(again(given, { ...more, earlier })).toMatchObject({ kind: 'admitted', maxTokens: 300 });
    }
  });

  test('is limited so that all tries together cost at most the request’s own limit', () => {
    expect(again({}, { costLimit: 4_000, earlier: 1 })).toMatchObject({ kind: 'admitted', maxTokens: 299 });
    expect(again({}, { costLimit: 4_000, earlier: 440 })).toMatchObject({ kind: 'admitted', maxTokens: 256 });
    expect(again({}, { costLimit: 4_000, earlier: 441 })).toMatchObject({ kind: 'refused', by: 'run', left: 3_559 });
    expect(again({ usd_per_day: 1, on_shortfall: 'refuse' }, { costLimit: 4_000, earlier: 1 })).toMatchObject({
      by: 'run',
    });
  });

  test('with a model without a price is rejected only under a limit in USD', () => {
    const unknown = { ...worstCase, isPriced: false };
    const more = { earlier: 1 };
    expect(decideHold(createEmptyBudget(NOON), toLimitRules({}), unknown, NOON, more).kind).toBe('admitted');
    expect(decideHold(createEmptyBudget(NOON), toLimitRules({ usd_total: 1 }), unknown, NOON, more)).toMatchObject({
      reason: 'unpriced',
    });
  });
});

describe('a token count before admission', () => {
  const countable = (more: Partial<MaximumCost> = {}) => worstCaseWith({ countable: true, ...more });

  test('is requested only if the maximum cost does not fit', () => {
    expect(decideHold(createEmptyBudget(NOON), toLimitRules({ usd_per_day: 1 }), countable(), NOON).kind).toBe(
      'admitted',
    );
    expect(decideHold(createEmptyBudget(NOON), toLimitRules({ usd_per_day: usd(5_000) }), countable(), NOON).kind).toBe(
      'count_needed',
    );
    const tokens = toLimitRules({ input_tokens_per_minute: 99 });
    expect(decideHold(createEmptyBudget(NOON), tokens, countable(), NOON).kind).toBe('count_needed');
    expect(decideHold(createEmptyBudget(NOON), tokens, worstCaseWith(), NOON)).toMatchObject({
      reason: 'rate',
      never: true,
    });
  });

  test('is not requested if it could not help', () => {
    const broke = toLimitRules({ usd_per_day: usd(2_000) });
    expect(decideHold(createEmptyBudget(NOON), broke, countable(), NOON)).toMatchObject({ reason: 'spend' });
    const none = toLimitRules({ concurrent_requests: 0, input_tokens_per_minute: 1 });
    expect(decideHold(createEmptyBudget(NOON), none, countable(), NOON)).toMatchObject({ reason: 'concurrency' });
  });

  test('is not requested if a lowered max_tokens leaves enough output', () => {
    const plenty = countable({ outputTokens: 128_000 });
    expect(
      decideHold(createEmptyBudget(NOON), toLimitRules({ usd_per_day: usd(100_000) }), plenty, NOON),
    ).toMatchObject({
      kind: 'admitted',
      maxTokens: 4_900,
    });
    // Sixteen times the least, in half of what is free.
    const dear = countable({ inputCost: 20_000, outputTokens: 128_000 });
    const enough = 2 * (20_000 + 16 * 256 * 10);
    expect(decideHold(createEmptyBudget(NOON), toLimitRules({ usd_per_day: usd(enough) }), dear, NOON)).toMatchObject({
      kind: 'admitted',
      maxTokens: 16 * 256,
    });
    expect(decideHold(createEmptyBudget(NOON), toLimitRules({ usd_per_day: usd(enough - 1) }), dear, NOON).kind).toBe(
      'count_needed',
    );
  });

  test('is not requested if the input is at most a quarter of the hold', () => {
    const rules = toLimitRules({ usd_per_day: usd(80_000) });
    const ask = (inputCost: number) => countable({ inputCost, outputTokens: 128_000 });
    expect(decideHold(createEmptyBudget(NOON), rules, ask(10_000), NOON)).toMatchObject({
      kind: 'admitted',
      maxTokens: 3_000,
    });
    expect(decideHold(createEmptyBudget(NOON), rules, ask(10_001), NOON).kind).toBe('count_needed');
  });

  test('is limited by count_requests_per_minute', () => {
    const counting = toLimitRules({ usd_per_day: usd(5_000), count_requests_per_minute: 1 });
    const budget = createEmptyBudget(NOON);
    expect(decideHold(budget, counting, countable(), NOON).kind).toBe('count_needed');
    takeTokenCountFromBucket(budget, counting);
    expect(decideHold(budget, counting, countable(), NOON)).toMatchObject({
      reason: 'rate',
      limit: 'count_requests_per_minute',
      retryAfter: 60,
    });
    expect(decideHold(budget, counting, countable(), NOON, { counted: true }).kind).toBe('count_needed');
    expect(decideHold(budget, counting, countable(), NOON + 60_000).kind).toBe('count_needed');
  });

  test('is requested if only the cost without the input fits', () => {
    const rules = toLimitRules({ usd_per_day: usd(20_000) });
    const budget = createEmptyBudget(NOON);
    admit(budget, rules, worstCaseWith({ inputCost: 6_000, outputTokens: 0, leastOutput: 0 }), NOON);
    const bound = countable({ inputCost: 2_000, outputTokens: 50_000, outputPrice: 1 });
    // It would rather wait than get less, and 13,000 of what is free do not pay for its input, too.
    expect(decideHold(budget, rules, bound, NOON, { estimateTypicalTokens: () => 13_000 }).kind).toBe('count_needed');
    // A request that passes others is short of limits that they do not have.
    const token = { by: 'token', name: 'usd_per_day', limit: 1_500, settled: 0, held: 0, end: NEVER } as const;
    const small = countable({ inputCost: 2_000, outputTokens: 300, outputPrice: 1 });
    const purses = [...createBudgetWindows(budget, rules), token];
    expect(
      decideHold(budget, rules, small, NOON, {
        budgetWindows: purses,
        estimateTypicalTokens: () => 0,
        maxOvertakingHold: 5_000,
      }).kind,
    ).toBe('count_needed');
  });
});

describe('rate limits', () => {
  test('reject a request beyond the rate until the bucket refills', () => {
    const rules = toLimitRules({ requests_per_minute: 2 });
    const budget = createEmptyBudget(NOON);
    admit(budget, rules, worstCaseWith(), NOON);
    admit(budget, rules, worstCaseWith(), NOON);
    expect(admit(budget, rules, worstCaseWith(), NOON)).toMatchObject({
      reason: 'rate',
      limit: 'requests_per_minute',
      retryAfter: 30,
    });
    // Another try of a request is the same entry.
    expect(decideHold(budget, rules, worstCaseWith(), NOON, { repeats: true }).kind).toBe('admitted');
    expect(computeBucketsAfterAdmission(budget, rules, true)).toEqual(budget.fullAt);
    expect(admit(budget, rules, worstCaseWith(), NOON + 30_000).kind).toBe('admitted');
  });

  test('lower the output to half of the bucket, and return unused tokens', () => {
    const rules = toLimitRules({ output_tokens_per_minute: 1_200 });
    const budget = createEmptyBudget(NOON);
    const running = [600, 300, 256].map((maxTokens) => {
      const decision = admit(budget, rules, worstCaseWith(), NOON);
      expect(decision).toMatchObject({ kind: 'admitted', maxTokens });
      return decision.id;
    });
    expect(admit(budget, rules, worstCaseWith(), NOON)).toMatchObject({
      reason: 'rate',
      limit: 'output_tokens_per_minute',
      left: 44,
    });
    for (const id of running) end(budget, rules, id, 0, 0, 200);
    expect(admit(budget, rules, worstCaseWith(), NOON)).toMatchObject({ kind: 'admitted', maxTokens: 300 });
  });

  test('hold the full output with on_shortfall: refuse', () => {
    const rules = toLimitRules({ output_tokens_per_minute: 1_200, on_shortfall: 'refuse' });
    const budget = createEmptyBudget(NOON);
    expect(admit(budget, rules, worstCaseWith(), NOON)).toMatchObject({ kind: 'admitted', maxTokens: 1_000 });
    expect(admit(budget, rules, worstCaseWith(), NOON)).toMatchObject({ reason: 'rate', left: 200 });
  });

  test('hold the whole bucket for an unbounded input, and subtract its actual tokens', () => {
    const rules = toLimitRules({ input_tokens_per_minute: 1_000 });
    const budget = createEmptyBudget(NOON);
    const { id } = admit(budget, rules, worstCaseWith({ inputTokens: 1_000_000, bounded: false }), NOON);
    expect(budget.heldInput).toBe(1_000);
    end(budget, rules, id, 0, 3_000);
    expect(admit(budget, rules, worstCaseWith(), NOON + 119_000)).toMatchObject({ reason: 'rate' });
    expect(admit(budget, rules, worstCaseWith(), NOON + 126_000).kind).toBe('admitted');
  });

  test('use a separate bucket for token counts', () => {
    const rules = toLimitRules({ count_requests_per_minute: 1, requests_per_minute: 0 });
    const budget = createEmptyBudget(NOON);
    expect(admitCountRequest(budget, rules, NOON).kind).toBe('admitted');
    expect(admitCountRequest(budget, rules, NOON)).toMatchObject({
      limit: 'count_requests_per_minute',
      retryAfter: 60,
    });
  });

  test('reject a request beyond concurrent_requests', () => {
    const rules = toLimitRules({ concurrent_requests: 1 });
    const budget = createEmptyBudget(NOON);
    const { id } = admit(budget, rules, worstCaseWith(), NOON);
    expect(admit(budget, rules, worstCaseWith(), NOON)).toMatchObject({ reason: 'concurrency', retryAfter: 1 });
    end(budget, rules, id, 0);
    expect(admit(budget, rules, worstCaseWith(), NOON).kind).toBe('admitted');
  });

  test('do not count abandoned requests towards concurrent_requests, up to as many as the limit itself', () => {
    const rules = toLimitRules({ concurrent_requests: 2 });
    const budget = createEmptyBudget(NOON);
    const abandon = () => {
      const { kind, id } = admit(budget, rules, worstCaseWith(), NOON);
      const hold = budget.holds.get(id ?? '');
      if (hold) hold.stage = ABANDONED_STAGE;
      return kind;
    };
    const kinds = Array.from({ length: 10 }, abandon);
    expect(kinds.filter((kind) => kind === 'admitted')).toHaveLength(4);
    expect(budget.holds.size).toBe(4);
  });
});

test('admits a request only if every model that may be billed is allowed by one of its names', () => {
  const rules = toLimitRules({ models: ['claude-haiku-4-5'] });
  const names = ['claude-haiku-4-5-20251001', 'claude-haiku-4-5'];
  expect(decideHold(createEmptyBudget(NOON), rules, worstCaseWith({ models: [names] }), NOON).kind).toBe('admitted');
  expect(
    decideHold(createEmptyBudget(NOON), rules, worstCaseWith({ models: [names, ['default']] }), NOON),
  ).toMatchObject({
    reason: 'model',
    model: 'default',
  });
});

test('allows a dated name if its model is allowed', () => {
  const allowed = (models: string[], names: string[]) =>
    decideHold(createEmptyBudget(NOON), toLimitRules({ models }), worstCaseWith({ models: [names] }), NOON).kind ===
    'admitted';
  const snapshot = ['claude-sonnet-5-5-20261001', 'claude-sonnet-5-5'];
  expect(allowed(['claude-sonnet-5-5'], snapshot)).toBe(true);
  expect(allowed(['claude-sonnet-5-5-20261001'], snapshot)).toBe(true);
  expect(allowed(['claude-sonnet-5'], snapshot)).toBe(false);
});

test('rejects a model without a price only under a limit in USD', () => {
  const unknown = worstCaseWith({ isPriced: false, models: [['claude-next']] });
  for (const given of [{ usd_per_day: 1 }, { usd_per_week: 1 }, { usd_per_month: 1 }]) {
    expect(decideHold(createEmptyBudget(NOON), toLimitRules(given), unknown, NOON)).toMatchObject({
      reason: 'unpriced',
      model: 'claude-next',
      never: true,
    });
  }
  expect(decideHold(createEmptyBudget(NOON), toLimitRules({ requests_per_minute: 1 }), unknown, NOON).kind).toBe(
    'admitted',
  );
});

test('keeps the latest time when the clock goes back', () => {
  const budget = createEmptyBudget(NOON);
  expect(advanceBudgetTo(budget, NOON - 1e9)).toBe(NOON);
  expect(budget.windows.day).toMatchObject(findCalendarWindowAt('day', NOON));
});

type Step =
  | { do: 'admit'; inputCost: number; inputTokens: number; outputTokens: number; bounded: boolean; countable: boolean }
  | { do: 'settle'; which: number; share: number }
  | { do: 'expire' }
  | { do: 'wait'; ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('admit' as const),
      inputCost: fc.integer({ min: 0, max: 20_000 }),
      inputTokens: fc.integer({ min: 0, max: 500 }),
      outputTokens: fc.integer({ min: 0, max: 2_000 }),
      bounded: fc.constant(true),
      countable: fc.boolean(),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('settle' as const),
      which: fc.nat(),
      share: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('expire' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('wait' as const),
      ms: fc.oneof(fc.integer({ min: -100_000_000, max: 100_000_000 }), fc.integer({ min: 0, max: 90_000 })),
    }),
  },
);

const limits: fc.Arbitrary<Limits> = fc.record(
  {
    requests_per_minute: fc.integer({ min: 1, max: 100 }),
    input_tokens_per_minute: fc.integer({ min: 0, max: 3_000 }),
    output_tokens_per_minute: fc.integer({ min: 0, max: 5_000 }),
    usd_per_day: fc.integer({ min: 0, max: 200_000 }).map(usd),
    usd_per_week: fc.integer({ min: 0, max: 400_000 }).map(usd),
    usd_per_month: fc.integer({ min: 0, max: 800_000 }).map(usd),
    concurrent_requests: fc.integer({ min: 1, max: 20 }),
    on_shortfall: fc.constantFrom('clamp' as const, 'refuse' as const),
    min_output_tokens: fc.integer({ min: 1, max: 600 }),
  },
  { requiredKeys: [] },
) as fc.Arbitrary<Limits>;

test('keeps settled + held ≤ limit in every window, and holds nothing once all requests have ended', () => {
  tryCases(caseCount(1_000), limits, fc.array(step, { minLength: 20, maxLength: 120, size: 'max' }), (given, steps) => {
    const rules = toLimitRules(given);
    const budget = createEmptyBudget(NOON);
    let clock = NOON;
    // Told apart from the budget's own sums: every request, when it was admitted and what it has cost.
    const all = new Map<string, { at: number; open: boolean; amount: number }>();
    const uses: { at: number; input: number; output: number }[] = [];
    const finish = (id: string, share: number) => {
      const hold = budget.holds.get(id);
      const known = all.get(id);
      if (!hold || !known) throw new Error('lost');
      const cost = Math.floor(hold.nanodollars * share);
      const [input, output] = [Math.floor(hold.inputTokens * share), Math.floor(hold.outputTokens * share)];
      end(budget, rules, id, cost, input, output);
      Object.assign(known, { open: false, amount: cost });
      uses.push({ at: budget.last, input, output });
    };
    const check = () => {
      for (const period of PERIODS) {
        const sums = new Map<number, number>();
        for (const { at, amount } of all.values()) {
          const { start } = findCalendarWindowAt(period, at);
          sums.set(start, (sums.get(start) ?? 0) + amount);
        }
        const limit = rules.spend[period] ?? Number.POSITIVE_INFINITY;
        for (const sum of sums.values()) expect(sum).toBeLessThanOrEqual(limit);
        const { start, settled, held } = budget.windows[period];
        expect(settled + held).toBe(sums.get(start) ?? 0);
      }
      const now = budget.last;
      // Within what a float loses.
      if (rules.input !== undefined)
        expect(budget.heldInput).toBeLessThanOrEqual(computeUnitsInBucket(budget.fullAt.input, rules.input, now) + 1);
      if (rules.output !== undefined)
        expect(budget.heldOutput).toBeLessThanOrEqual(
          computeUnitsInBucket(budget.fullAt.output, rules.output, now) + 1,
        );
      expect(budget.holds.size).toBeLessThanOrEqual(rules.concurrent);
    };
    for (const next of steps) {
      if (next.do === 'wait') clock = Math.max(0, clock + next.ms);
      else if (next.do === 'admit') {
        const { do: _, ...more } = next;
        const decision = admit(budget, rules, worstCaseWith(more), clock);
        if (decision.kind === 'admitted') {
          all.set(decision.id, { at: budget.last, open: true, amount: decision.nanodollars });
          expect(decision.maxTokens).toBeLessThanOrEqual(next.outputTokens);
          const least =
            next.inputCost +
            10 * Math.min(next.outputTokens, rules.canLowerMaxTokens ? (rules.minOutputTokens ?? 256) : 2_000);
          const whole = next.inputCost + 10 * next.outputTokens;
          const free = PERIODS.map((period) => {
            const { settled, held } = budget.windows[period];
            return (rules.spend[period] ?? CEILING) - settled - held + decision.nanodollars;
          });
          const tightest = Math.min(...free);
          // Nobody takes more than half of what is free, unless it needs that at the least, or that saves less than a tenth.
          const takesAll = whole <= tightest && whole - Math.max(Math.floor(tightest / 2), least) < whole / 10 - 10;
          if (takesAll && rules.output === undefined) expect(decision.nanodollars).toBe(whole);
          // What is left of a rate may have lowered it after that.
          const mayBeWhole = decision.nanodollars === whole || (rules.output !== undefined && whole <= tightest);
          const half = mayBeWhole ? Math.min(decision.nanodollars, whole * 0.9) : decision.nanodollars;
          for (const one of free) expect(half).toBeLessThanOrEqual(Math.max(one / 2, least));
        }
      } else {
        advanceBudgetTo(budget, clock);
        const open = [...budget.holds.values()];
        if (next.do === 'settle') {
          const hold = open[next.which % open.length];
          if (hold) finish(hold.id, next.share);
        } else for (const hold of open) if (hold.deadline <= budget.last) finish(hold.id, 1);
      }
      check();
    }
    for (const id of [...budget.holds.keys()]) finish(id, 0.5);
    check();
    expect([budget.heldInput, budget.heldOutput]).toEqual([0, 0]);
    for (const period of PERIODS) expect(budget.windows[period].held).toBe(0);
    // Of any stretch of time: no more was used than a full bucket and what flowed in.
    for (const kind of ['input', 'output'] as const) {
      const limit = rules[kind];
      if (limit === undefined) continue;
      for (let from = 0; from < uses.length; from++) {
        let sum = 0;
        for (let to = from; to < uses.length; to++) {
          sum += uses[to]?.[kind] ?? 0;
          const ms = (uses[to]?.at ?? 0) - (uses[from]?.at ?? 0);
          expect(sum).toBeLessThanOrEqual(computeBucketCapacity(limit) + (limit * ms) / 60_000 + 1e-2);
        }
      }
    }
  });
});

test('limits a hold to the remaining amount of every budget window and of the request', () => {
  const money = (most: number) => fc.integer({ min: 0, max: most });
  const purse = fc
    .record({ by: fc.constantFrom('token' as const, 'group' as const), free: money(40_000), held: money(9_000) })
    .map(({ by, free, held }) => ({ by, name: 'usd_total', limit: free + held + 9, settled: 9, held, end: NEVER }));
  const circumstances = fc.record(
    {
      budgetWindows: fc.array(purse, { maxLength: 3 }),
      costLimit: money(40_000),
      earlier: money(20_000),
      estimateTypicalTokens: fc.nat(2_000).map((tokens) => () => tokens),
      maxOvertakingHold: money(40_000),
    },
    { requiredKeys: [] },
  ) as fc.Arbitrary<HoldDecisionOptions>;
  const tokens = { outputTokens: money(2_000), leastOutput: money(500) };
  const asked = fc.record({ inputCost: money(20_000), ...tokens, countable: fc.boolean() });
  tryCases(caseCount(2_000), limits, money(9_000), asked, circumstances, (given, settled, more, around) => {
    const rules = toLimitRules(given);
    const budget = createEmptyBudget(NOON);
    for (const period of PERIODS) budget.windows[period].settled = settled;
    const worstCase = worstCaseWith(more);
    const { budgetWindows: purses = [], costLimit: most, earlier = 0, maxOvertakingHold: mostPassing } = around;
    const paid = { ...around, budgetWindows: [...createBudgetWindows(budget, rules), ...purses] };
    const decision = decideHold(budget, rules, worstCase, NOON, paid);
    const isLimited =
      purses.length > 0 || most !== undefined || PERIODS.some((period) => rules.spend[period] !== undefined);
    if (most === undefined) {
      const { earlier: _, ...first } = paid;
      expect(decideHold(budget, rules, worstCase, NOON, first)).toEqual(decision);
    }
    if (decision.kind !== 'admitted') {
      const isPassing = mostPassing !== undefined;
      expect(isLimited || isPassing || rules.input !== undefined || rules.output !== undefined).toBe(true);
      return;
    }
    const { nanodollars, maxTokens } = decision;
    expect(nanodollars).toBe(worstCase.inputCost + maxTokens * worstCase.outputPrice);
    for (const period of PERIODS) expect(settled + nanodollars).toBeLessThanOrEqual(rules.spend[period] ?? CEILING);
    for (const one of purses) expect(one.settled + one.held + nanodollars).toBeLessThanOrEqual(one.limit);
    if (most !== undefined) expect(earlier + nanodollars).toBeLessThanOrEqual(most);
    if (mostPassing !== undefined) expect(nanodollars).toBeLessThanOrEqual(mostPassing);
    if (!isLimited && mostPassing === undefined && rules.output === undefined)
      expect(maxTokens).toBe(worstCase.outputTokens);
  });
});
