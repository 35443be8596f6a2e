/**
 * The arithmetic of an account's budget: no storage, no clock, no waiting.
 *
 * Money: in every window, settled + held ≤ limit. Rates: running requests never hold more than is in a bucket; when a request
 * is settled, what it used is taken out. Both rules break only if the upstream bills more than a hold. Then all of it is
 * settled, and nothing is admitted until the debt is made up for.
 */

import { stripDate } from '../../claude/models/models.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { MaximumCost } from '../../claude/pricing/hold-terms.ts';
import { TEXT_TOKENS } from '../../claude/pricing/minimal-thinking.ts';
import type { LimitRejection } from '../contracts/admission.ts';
import type { LoweredBy } from '../contracts/lowered-by.schema.ts';
import { describeToolUseRemedies, explainUnaffordableRequest } from './advice.ts';
import { isPrepaid } from './binding-limits.ts';
import { computeBucketCapacity, computeUnitsInBucket, takeUnitsFromBucket } from './bucket.ts';
import {
  type BudgetWindow,
  computeAmountLeft,
  computeMinAmountLeft,
  createBudgetWindows,
  isSharedBudget,
} from './budget-windows.ts';
import {
  computeAffordableOutputTokens,
  computeAffordableToolUses,
  computeMinOutputTokens,
  computeTotalCost,
  selectCostToHold,
} from './cost-range.ts';
import { createLimitRejection, createRateRejection, findBudgetRejection } from './refusals.ts';
import { CEILING, type LimitRules } from './rules.ts';
import { ABANDONED_STAGE, advanceBudgetTo, type Budget } from './state.ts';
import { getUsdLimitName, NEVER, PERIODS } from './windows.ts';

/** What a request sets aside when it is admitted. */
interface HoldAdmission {
  kind: 'admitted';
  nanodollars: Nanodollars;
  inputTokens: number;
  outputTokens: number;
  maxTokens: number;
  /** Whose limit has lowered `max_tokens`; absent if none has. */
  loweredBy?: LoweredBy;
}

/** The upstream must count its input before it can be decided on. */
interface InputCountNeeded {
  kind: 'count_needed';
}

/** It would have to pass those who wait, and needs more than it may hold then. */
interface MustQueueBehindOthers {
  kind: 'behind';
}

export type HoldDecision = HoldAdmission | LimitRejection | InputCountNeeded | MustQueueBehindOthers;

/** If lowering `max_tokens` leaves less than this many times `min_output_tokens`, counting the input is worth a call. */
const COMFORT_FACTOR = 16;
/** The input is not counted if it costs less than this part (one fourth) of the request's share. */
const WORTH_COUNTING = 4;
/** `max_tokens` is not lowered where that saves less than this part (a tenth) of the hold, if all of it fits. */
const WORTH_LOWERING = 10;

/** The decision on a request that costs nothing. */
type FreeRequestDecision = { kind: 'admitted' } | LimitRejection;

/** Decides on a token count, which costs no money, and takes it from the bucket of counts, if that is limited. */
export function admitCountRequest(budget: Budget, rules: LimitRules, now: number): FreeRequestDecision {
  return admitFromRateBucket('counts', budget, rules, now);
}

/** Decides on another request that costs no money, and takes it from the bucket of all requests, if that is limited. */
export function admitFreeRequest(budget: Budget, rules: LimitRules, now: number): FreeRequestDecision {
  return admitFromRateBucket('requests', budget, rules, now);
}

function admitFromRateBucket(
  bucket: 'counts' | 'requests',
  budget: Budget,
  rules: LimitRules,
  now: number,
): FreeRequestDecision {
  const time = advanceBudgetTo(budget, now);
  const limit = rules[bucket];
  if (limit === undefined) return { kind: 'admitted' };
  const fullAt = budget.fullAt[bucket];
  if (computeUnitsInBucket(fullAt, limit, time) < 1) {
    const name = bucket === 'counts' ? 'count_requests_per_minute' : 'requests_per_minute';
    return createRateRejection(name, fullAt, limit, time, 1, 0);
  }
  budget.fullAt = { ...budget.fullAt, [bucket]: takeUnitsFromBucket(fullAt, limit, time, 1) };
  return { kind: 'admitted' };
}

/** What decides about a request, beside its worst case. */
export interface HoldDecisionOptions {
  /** Whether a try of the same request was admitted before. All tries count as one in `requests_per_minute`. */
  repeats?: boolean | undefined;
  /** Whether the upstream was asked to count its input, only for this decision. */
  counted?: boolean | undefined;
  /** The limits in money of all who pay. Default: those of the account. */
  purses?: readonly BudgetWindow[] | undefined;
  /** Models that the credential may use; absent if they are the same as those of its account. */
  models?: readonly string[] | undefined;
  /** The most that this request itself may cost. No other request needs any of it, so all of it may be held. */
  most?: Nanodollars | undefined;
  /** What the earlier tries of the request have cost. It counts only against `most`. */
  earlier?: Nanodollars | undefined;
  /**
   * For a request that can wait: the tokens that answers take, of which `forText` are enough for a text. While others hold the money
   * for so many, it is refused as held. Default: `max_tokens` is lowered to what is left.
   */
  typical?: ((forText: number) => number) | undefined;
  /** The most that it may hold, since others wait and it would pass them; absent if it passes nobody. */
  mostPassing?: Nanodollars | undefined;
}

/**
 * Decides on a request by its worst case: admits it, perhaps with a lowered `max_tokens`, or refuses it. It only moves the
 * budget to the time `now`; `addHold` places the hold.
 */
export function decideHold(
  budget: Budget,
  rules: LimitRules,
  exact: MaximumCost,
  now: number,
  circumstances: HoldDecisionOptions = {},
): HoldDecision {
  const question = prepareHoldRequest(budget, rules, exact, now, circumstances);
  const refusal = findAmountIndependentRejection(question);
  if (refusal) return refusal;
  const range = computeOutputTokensRange(question);
  return 'kind' in range ? range : admitWithLoweredMaxTokens(question, range);
}

/** A request to decide on, in the order of the three steps. */
interface PreparedHoldRequest extends Omit<HoldDecisionOptions, 'earlier'> {
  budget: Budget;
  rules: LimitRules;
  /** The time to decide by, to which the budget was moved. */
  time: number;
  /** The worst case by which it is held. */
  worstCase: MaximumCost;
  purses: readonly BudgetWindow[];
  /** The limit of the request itself, of which it may have all; empty if it has none. */
  requestWindows: readonly BudgetWindow[];
  /** The tokens of its shortest useful answer. */
  minTokens: number;
  /** The least that it needs. An input that can still be counted may turn out to be cheap, so its cost is left out. */
  needed: Nanodollars;
}

function prepareHoldRequest(
  budget: Budget,
  rules: LimitRules,
  exact: MaximumCost,
  now: number,
  circumstances: HoldDecisionOptions,
): PreparedHoldRequest {
  const time = advanceBudgetTo(budget, now);
  const worstCase = selectCostToHold(exact, rules);
  const { purses = createBudgetWindows(budget, rules), most } = circumstances;
  const { repeats, counted, models, typical, mostPassing } = circumstances;
  const own = createRequestLimitWindows(circumstances);
  const least = computeMinOutputTokens(worstCase, rules);
  const needed = (worstCase.countable ? 0 : worstCase.inputCost) + least * worstCase.outputPrice;
  // With all members named: a spread makes a decision take four times as long.
  return {
    budget,
    rules,
    time,
    worstCase,
    purses,
    requestWindows: own,
    minTokens: least,
    needed,
    most,
    repeats,
    counted,
    models,
    typical,
    mostPassing,
  };
}

function createRequestLimitWindows({ most, earlier = 0 }: HoldDecisionOptions): BudgetWindow[] {
  return most === undefined ? [] : [{ by: 'run', name: 'max_usd', limit: most, settled: earlier, held: 0, end: NEVER }];
}

/**
 * Decides to how many uses of the API's own tools a request is limited that was refused for want of money. As with `max_tokens` it
 * gets half of what is left, or what it needs at least.
 *
 * @returns undefined if the budget does not pay for the fewest even without other holds, or limits are to refuse
 */
export function lowerToolUses(
  budget: Budget,
  rules: LimitRules,
  exact: MaximumCost,
  leastUses: number,
  circumstances: HoldDecisionOptions,
): { uses: number; loweredBy: LoweredBy } | undefined {
  const worstCase = selectCostToHold(exact, rules);
  const { served } = worstCase;
  if (!served || !rules.shouldClamp) return undefined;
  const { purses = createBudgetWindows(budget, rules) } = circumstances;
  const own = createRequestLimitWindows(circumstances);
  const parts = getBudgetShareDivisor(rules);
  const left = computeMinAmountLeft([...purses, ...own]);
  const share = Math.min(Math.floor(computeMinAmountLeft(purses) / parts), left);
  const least = computeMinOutputTokens(worstCase, rules);
  const most = Math.min(served.uses - 1, computeAffordableToolUses(left, worstCase, rules, least));
  const affordable = Math.min(most, Math.max(leastUses, computeAffordableToolUses(share, worstCase, rules, least)));
  // If only other requests' holds are in the way, the request waits for them with the fewest uses.
  const unspent = computeUnspentAmount([...purses, ...own]);
  const canWait = served.uses > leastUses && computeAffordableToolUses(unspent, worstCase, rules, least) >= leastUses;
  const uses = affordable < leastUses && canWait ? leastUses : affordable;
  const loweredBy = findLimitLeavingLeast(purses, own, parts);
  return uses >= leastUses && loweredBy ? { uses, loweredBy } : undefined;
}

/** The first step. @returns why it must be refused, or counted, whatever it holds; undefined if it may be admitted */
function findAmountIndependentRejection(question: PreparedHoldRequest): LimitRejection | InputCountNeeded | undefined {
  return (
    checkModelLimits(question) ??
    checkMoneyLimits(question) ??
    checkRequestLimits(question) ??
    checkInputTokenLimit(question)
  );
}

function checkModelLimits({
  rules,
  time,
  worstCase,
  models,
  purses,
  most,
}: PreparedHoldRequest): LimitRejection | undefined {
  for (const [by, allowed] of [['account', rules.models] as const, ['token', models] as const]) {
    const barred = allowed && worstCase.models.find((names) => !isModelAllowed(names, allowed));
    if (!barred) continue;
    return { ...createLimitRejection('model', 'models', time, time, 1, 0, true), by, model: barred[0] ?? '', allowed };
  }
  if (worstCase.known) return undefined;
  // Budget windows of the account do not show that it has limits: without limits it has those of the ceiling.
  const isLimited =
    purses.some(({ by }) => by !== 'account') ||
    most !== undefined ||
    PERIODS.some((period) => rules.spend[period] !== undefined);
  if (!isLimited) return undefined;
  return {
    ...createLimitRejection('unpriced', 'models', time, time, 1, 0, true),
    model: worstCase.models[0]?.[0] ?? '',
  };
}

function checkMoneyLimits({
  budget,
  rules,
  time,
  worstCase,
  purses,
  requestWindows: own,
  minTokens: leastTokens,
  needed,
}: PreparedHoldRequest) {
  const overRun = findBudgetRejection(own, needed, time, budget);
  if (overRun) return overRun;
  const broke = findBudgetRejection(purses, needed, time, budget);
  const isTotal = broke?.by === 'account' && broke.limit === getUsdLimitName('total');
  if (isTotal && isPrepaid(rules) && budget.windows.total.settled >= budget.credit) return { ...broke, noCredit: true };
  if (broke?.never) {
    const zero = purses.find(({ limit }) => limit <= 0);
    if (zero) return { ...broke, by: zero.by, limit: zero.name };
    return { ...broke, advice: explainUnaffordableRequest(worstCase, rules, purses, leastTokens) };
  }
  const advice =
    broke?.reason === 'spend' && describeToolUseRemedies(worstCase, rules, computeMinAmountLeft(purses), leastTokens);
  return advice ? { ...broke, advice } : broke;
}

/** @returns the refusal by how many requests run, or have come in a minute */
function checkRequestLimits({ budget, rules, time, repeats = false }: PreparedHoldRequest): LimitRejection | undefined {
  const running = countRunningRequests(budget, rules.concurrent);
  if (running >= rules.concurrent) {
    const left = rules.concurrent - running;
    return createLimitRejection(
      'concurrency',
      'concurrent_requests',
      time,
      time + 1_000,
      1,
      left,
      rules.concurrent === 0,
    );
  }
  const fullAt = budget.fullAt.requests;
  if (rules.requests === undefined || repeats || computeUnitsInBucket(fullAt, rules.requests, time) >= 1)
    return undefined;
  return createRateRejection('requests_per_minute', fullAt, rules.requests, time, 1, 0);
}

function checkInputTokenLimit(question: PreparedHoldRequest): LimitRejection | InputCountNeeded | undefined {
  const { budget, rules, time, worstCase } = question;
  const { fullAt, heldInput } = budget;
  if (rules.input === undefined) return undefined;
  const inputTokens = computeInputTokensToHold(question);
  if (inputTokens <= computeUnitsInBucket(fullAt.input, rules.input, time) - heldInput) return undefined;
  if (worstCase.countable) return requireInputCount(question);
  return createRateRejection('input_tokens_per_minute', fullAt.input, rules.input, time, inputTokens, heldInput);
}

/**
 * @returns the input tokens that it holds. An input without an upper bound holds the whole bucket. If it uses more, the account waits
 *   longer afterwards
 */
function computeInputTokensToHold({ rules, worstCase }: PreparedHoldRequest): number {
  const { inputTokens, bounded, countable } = worstCase;
  if (rules.input === undefined || bounded || countable) return inputTokens;
  return Math.min(inputTokens, Math.floor(computeBucketCapacity(rules.input)));
}

/** @returns that its input must be counted, or the refusal of that: the count is made for the account, and taken from its bucket */
function requireInputCount({
  budget,
  rules,
  time,
  counted = false,
}: PreparedHoldRequest): LimitRejection | InputCountNeeded {
  const fullAt = budget.fullAt.counts;
  if (rules.counts !== undefined && !counted && computeUnitsInBucket(fullAt, rules.counts, time) < 1) {
    return createRateRejection('count_requests_per_minute', fullAt, rules.counts, time, 1, 0);
  }
  return { kind: 'count_needed' };
}

/** How much a request may hold, in tokens of output. */
interface OutputTokensRange {
  /** So many it should have, even if they cost more than its share. */
  least: number;
  /** So many its share of what is left pays for; negative if it does not even pay for the input. */
  share: number;
  /** The most by the rate of output. */
  most: number;
  /** Whether what is left pays for all that it asks for. */
  fits: boolean;
}

/** Into how many parts the purses are divided: who can be lowered has half of what is left, so that the next one finds some, too. */
function getBudgetShareDivisor({ shouldClamp: clamp }: LimitRules): number {
  return clamp ? 2 : 1;
}

/** The second step. @returns how much it may hold; or why it waits, must be counted, or is refused for want of so much */
function computeOutputTokensRange(
  question: PreparedHoldRequest,
): OutputTokensRange | LimitRejection | InputCountNeeded | MustQueueBehindOthers {
  const { rules, worstCase, purses, requestWindows: own, mostPassing } = question;
  const left = Math.min(computeMinAmountLeft([...purses, ...own]), mostPassing ?? CEILING);
  const money = Math.min(
    Math.floor(computeMinAmountLeft(purses) / getBudgetShareDivisor(rules)),
    computeMinAmountLeft(own),
    left,
  );
  const share = computeAffordableOutputTokens(money, worstCase);
  const least = computeMinTokensToHold(question, share, left);
  if (typeof least !== 'number') return least;
  const cost = worstCase.inputCost + least * worstCase.outputPrice;
  if (mostPassing !== undefined && cost > mostPassing) return { kind: 'behind' };
  if (worstCase.countable) {
    // Counting helps if the request may not fit at all, or if the input is a large part of the cost.
    const isLargePart = worstCase.inputCost * WORTH_COUNTING > money;
    const isUncomfortable = isLargePart && share < computeOutputNotWorthCounting(question) && mostPassing === undefined;
    if (cost > left || isUncomfortable) return requireInputCount(question);
  }
  const most = computeMaxTokensByRate(question);
  return typeof most === 'number' ? { least, share, most, fits: computeTotalCost(worstCase) <= left } : most;
}

/**
 * @param share the tokens that its share pays for
 * @param available all that is left
 * @returns the tokens that it should have; or the refusal of a request that can wait for them, since others hold the money
 */
function computeMinTokensToHold(
  question: PreparedHoldRequest,
  share: number,
  available: Nanodollars,
): number | LimitRejection {
  const { budget, time, worstCase, purses, requestWindows: own, minTokens: least, needed, typical } = question;
  const { outputTokens, outputPrice, usefulOutput } = worstCase;
  if (!typical || share >= outputTokens) return least;
  const all = [...purses, ...own];
  // Waiting only helps to get money that others hold, so leave out what is already spent.
  const unspent = computeUnspentAmount(all);
  const text = usefulOutput ?? TEXT_TOKENS;
  const usual = Math.max(text, typical(0));
  const patient = Math.min(
    outputTokens,
    Math.max(least, Math.min(usual, computeAffordableOutputTokens(unspent, worstCase))),
  );
  const short = findBudgetRejection(all, needed + (patient - least) * outputPrice, time, budget);
  if (short?.reason === 'held' && !short.byBatch) return short;
  if (short) return least;
  // Hold more than `patient` only from what is left, and never from a shared budget, of which others need the rest.
  const spare = purses.some(({ by }) => isSharedBudget(by)) ? 0 : computeAffordableOutputTokens(available, worstCase);
  return Math.max(patient, Math.min(outputTokens, typical(text), spare));
}

function computeUnspentAmount(purses: readonly BudgetWindow[]): Nanodollars {
  return Math.min(...purses.map(({ limit, settled }) => limit - settled));
}

/** @returns tokens of output that need no count of the input: with fewer, counting it is worth a call */
function computeOutputNotWorthCounting({ rules, worstCase, minTokens: least }: PreparedHoldRequest): number {
  const { outputTokens } = worstCase;
  if (!rules.shouldClamp) return outputTokens;
  return Math.min(outputTokens, Math.max(least, COMFORT_FACTOR * (rules.minOutputTokens ?? TEXT_TOKENS)));
}

/** @returns the most tokens that the rate of output leaves to it; or the refusal, if these are too few */
function computeMaxTokensByRate({
  budget,
  rules,
  time,
  minTokens: least,
}: PreparedHoldRequest): number | LimitRejection {
  const { fullAt, heldOutput } = budget;
  if (rules.output === undefined) return Number.POSITIVE_INFINITY;
  const left = computeUnitsInBucket(fullAt.output, rules.output, time) - heldOutput;
  if (left < least) {
    return createRateRejection('output_tokens_per_minute', fullAt.output, rules.output, time, least, heldOutput);
  }
  return rules.shouldClamp ? Math.max(least, Math.floor(left / 2)) : left;
}

/**
 * The third step: lowers `max_tokens` to what can be paid for, unless that would leave hardly more for the next request. The more is
 * left, the more is held.
 */
function admitWithLoweredMaxTokens(
  question: PreparedHoldRequest,
  { least, share, most, fits }: OutputTokensRange,
): HoldAdmission {
  const { budget, rules, time, worstCase, purses, requestWindows: own } = question;
  const { inputCost, outputTokens, outputPrice } = worstCase;
  const lowered = Math.min(outputTokens, Math.max(least, share));
  const isWorthIt = (outputTokens - lowered) * outputPrice * WORTH_LOWERING >= computeTotalCost(worstCase);
  const byMoney = isWorthIt || !fits ? lowered : outputTokens;
  const maxTokens = Math.min(byMoney, most);
  const loweredBy =
    most < byMoney
      ? createLoweredByOutputRate(budget, time)
      : byMoney < outputTokens
        ? findLimitLeavingLeast(purses, own, getBudgetShareDivisor(rules))
        : undefined;
  return {
    kind: 'admitted',
    nanodollars: inputCost + maxTokens * outputPrice,
    inputTokens: computeInputTokensToHold(question),
    outputTokens: maxTokens,
    maxTokens,
    ...(loweredBy && { loweredBy }),
  };
}

function createLoweredByOutputRate({ fullAt: { output } }: Budget, time: number): LoweredBy {
  // A bucket that is full will not be fuller.
  return {
    by: 'account',
    limit: 'output_tokens_per_minute',
    resets_at: formatResetTime(output > time ? output : NEVER),
  };
}

/**
 * @returns how many requests run. As many that are read on as the limit itself do not count where that decides, so that the next
 *   question goes at once; without an end a caller who stops each turn would have any number open at the upstream
 */
function countRunningRequests({ holds, batchHoldCount: batched }: Budget, limit: number): number {
  const all = holds.size - batched;
  if (all < limit) return all;
  const abandoned = [...holds.values()].filter(({ stage }) => stage === ABANDONED_STAGE).length;
  return all - Math.min(abandoned, limit);
}

/**
 * @param requestWindows the limit of the request itself, of which it may have all
 * @param parts into how many parts the purses of those who pay are divided, of which it may have one
 * @returns the limit that leaves it the least; of several, the one that does so for the longest time
 */
function findLimitLeavingLeast(
  purses: readonly BudgetWindow[],
  requestWindows: readonly BudgetWindow[],
  parts: number,
): LoweredBy | undefined {
  const all = [
    ...purses.map((purse) => ({ purse, left: Math.floor(computeAmountLeft(purse) / parts) })),
    ...requestWindows.map((purse) => ({ purse, left: computeAmountLeft(purse) })),
  ];
  const [first] = all.sort((one, other) => one.left - other.left || other.purse.end - one.purse.end);
  return first && { by: first.purse.by, limit: first.purse.name, resets_at: formatResetTime(first.purse.end) };
}

function formatResetTime(end: number): string | null {
  return end >= NEVER ? null : new Date(end).toISOString();
}

/** @returns whether a model is allowed. A name with a date or `-latest` means its model, in the request and in the limit. */
export function isModelAllowed(names: readonly string[], allowed: readonly string[]): boolean {
  return allowed.some((name) => names.includes(name) || names.includes(stripDate(name)));
}
