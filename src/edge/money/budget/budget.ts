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
import { computeMinAmountLeft } from './budget-windows.ts';
import { computeTotalCost } from './cost-range.ts';
import { type HoldDecisionOptions, type HoldRequest, prepareHoldRequest } from './hold-request.ts';
import { computeHoldSize, getShareDivisor, type HoldSize } from './hold-size.ts';
import { createLoweredByOutputRate, findTightestLimit } from './lowered-by.ts';
import { createLimitRejection, createRateRejection, findBudgetRejection } from './refusals.ts';
import type { LimitRules } from './rules.ts';
import { ABANDONED_STAGE, advanceBudgetTo, type Budget } from './state.ts';
import { getUsdLimitName, PERIODS } from './windows.ts';

/** The reservation of a request when it is admitted. */
interface HoldAdmission {
  kind: 'admitted';
  nanodollars: Nanodollars;
  inputTokens: number;
  outputTokens: number;
  maxTokens: number;
  /** Whose limit has lowered `max_tokens`; absent if none has. */
  loweredBy?: LoweredBy;
}

/** The upstream must count the input before the request can be decided. */
interface InputCountNeeded {
  kind: 'count_needed';
}

/** The request would have to overtake requests in the queue, and needs more than it may hold then. */
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

/**
 * Decides about a request by its maximum cost: admits it, perhaps with a lowered `max_tokens`, or rejects it. It only moves the
 * budget to the time `now`; `addHold` places the hold.
 *
 * @param unestimatedCost the exact maximum cost. If the rules estimate the API's own tools, it is replaced by the estimate
 */
export function decideHold(
  budget: Budget,
  rules: LimitRules,
  unestimatedCost: MaximumCost,
  now: number,
  options: HoldDecisionOptions = {},
): HoldDecision {
  const request = prepareHoldRequest(budget, rules, unestimatedCost, now, options);
  const rejection = findAmountIndependentRejection(request);
  if (rejection) return rejection;
  const size = computeHoldSize(request);
  if ('kind' in size) return size;
  const obstacle = findHoldSizeObstacle(request, size);
  if (obstacle) return obstacle;
  const maxTokensByRate = computeMaxTokensByRate(request, size);
  if (typeof maxTokensByRate !== 'number') return maxTokensByRate;
  return admitWithLoweredMaxTokens(request, size, maxTokensByRate);
}

/** @returns why the request must be rejected, or counted, however much it holds; undefined if it may be admitted */
function findAmountIndependentRejection(request: HoldRequest): LimitRejection | InputCountNeeded | undefined {
  return (
    checkModelLimits(request) ??
    checkMoneyLimits(request) ??
    checkRequestLimits(request) ??
    checkInputTokenLimit(request)
  );
}

function checkModelLimits({
  rules,
  time,
  maximumCost,
  models,
  budgetWindows,
  costLimit,
}: HoldRequest): LimitRejection | undefined {
  for (const [by, allowed] of [['account', rules.models] as const, ['token', models] as const]) {
    const barred = allowed && maximumCost.models.find((names) => !isModelAllowed(names, allowed));
    if (!barred) continue;
    return { ...createLimitRejection('model', 'models', time, time, 1, 0, true), by, model: barred[0] ?? '', allowed };
  }
  if (maximumCost.isPriced) return undefined;
  // Ignore the account's own budget windows: an account without limits has them too, with `CEILING` as their limit.
  const isLimited =
    budgetWindows.some(({ by }) => by !== 'account') ||
    costLimit !== undefined ||
    PERIODS.some((period) => rules.spend[period] !== undefined);
  if (!isLimited) return undefined;
  return {
    ...createLimitRejection('unpriced', 'models', time, time, 1, 0, true),
    model: maximumCost.models[0]?.[0] ?? '',
  };
}

function checkMoneyLimits({
  budget,
  rules,
  time,
  maximumCost,
  budgetWindows,
  requestWindows,
  minTokens,
  minCost,
}: HoldRequest): LimitRejection | undefined {
  const rejectionByRequest = findBudgetRejection(requestWindows, minCost, time, budget);
  if (rejectionByRequest) return rejectionByRequest;
  const rejection = findBudgetRejection(budgetWindows, minCost, time, budget);
  if (!rejection) return undefined;
  const isTotal = rejection.by === 'account' && rejection.limit === getUsdLimitName('total');
  if (isTotal && isPrepaid(rules) && budget.windows.total.settled >= budget.credit)
    return { ...rejection, noCredit: true };
  if (rejection.never) {
    const zero = budgetWindows.find(({ limit }) => limit <= 0);
    if (zero) return { ...rejection, by: zero.by, limit: zero.name };
    return { ...rejection, advice: explainUnaffordableRequest(maximumCost, rules, budgetWindows, minTokens) };
  }
  const advice =
    rejection.reason === 'spend' &&
    describeToolUseRemedies(maximumCost, rules, computeMinAmountLeft(budgetWindows), minTokens);
  return advice ? { ...rejection, advice } : rejection;
}

/** @returns the rejection if too many requests are running, or have arrived within a minute */
function checkRequestLimits({ budget, rules, time, repeats = false }: HoldRequest): LimitRejection | undefined {
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

/**
 * @returns how many requests run. Abandoned requests do not count, so that the next question is sent at once, but only as many as
 *   the limit itself: otherwise a caller who stops each turn would have any number open at the upstream
 */
function countRunningRequests({ holds, batchHoldCount }: Budget, limit: number): number {
  const all = holds.size - batchHoldCount;
  if (all < limit) return all;
  const abandoned = [...holds.values()].filter(({ stage }) => stage === ABANDONED_STAGE).length;
  return all - Math.min(abandoned, limit);
}

function checkInputTokenLimit(request: HoldRequest): LimitRejection | InputCountNeeded | undefined {
  const { budget, rules, time, maximumCost } = request;
  const { fullAt, heldInput } = budget;
  if (rules.input === undefined) return undefined;
  const inputTokens = computeInputTokensToHold(request);
  if (inputTokens <= computeUnitsInBucket(fullAt.input, rules.input, time) - heldInput) return undefined;
  if (maximumCost.countable) return requireInputCount(request);
  return createRateRejection('input_tokens_per_minute', fullAt.input, rules.input, time, inputTokens, heldInput);
}

/**
 * @returns the input tokens that it holds. An input without an upper bound holds the whole bucket. If it uses more, the account waits
 *   longer afterwards
 */
function computeInputTokensToHold({ rules, maximumCost }: HoldRequest): number {
  const { inputTokens, bounded, countable } = maximumCost;
  if (rules.input === undefined || bounded || countable) return inputTokens;
  return Math.min(inputTokens, Math.floor(computeBucketCapacity(rules.input)));
}

/** @returns that the input must be counted; or a rejection, because the count itself takes from the account's bucket of counts */
function requireInputCount({ budget, rules, time, counted = false }: HoldRequest): LimitRejection | InputCountNeeded {
  const fullAt = budget.fullAt.counts;
  if (rules.counts !== undefined && !counted && computeUnitsInBucket(fullAt, rules.counts, time) < 1) {
    return createRateRejection('count_requests_per_minute', fullAt, rules.counts, time, 1, 0);
  }
  return { kind: 'count_needed' };
}

/** @returns why a request cannot hold its preferred tokens yet: it must stay in the queue, or its input must be counted */
function findHoldSizeObstacle(
  request: HoldRequest,
  { minimum, preferred, affordable, free, share }: HoldSize,
): LimitRejection | InputCountNeeded | MustQueueBehindOthers | undefined {
  const { maximumCost, maxOvertakingHold } = request;
  const { inputCost, outputPrice } = maximumCost;
  const cost = inputCost + preferred * outputPrice;
  if (maxOvertakingHold !== undefined && cost > maxOvertakingHold) return { kind: 'behind' };
  if (!maximumCost.countable) return undefined;
  if (cost > free) return requireInputCount(request);
  // Count the input also if it fits, provided that it is a large part of the cost and few tokens are left for output: the exact
  // count usually leaves more for output.
  const isLargePart = inputCost * WORTH_COUNTING > share;
  const isTight = affordable < computeComfortableOutputTokens(request, minimum);
  return isLargePart && isTight && maxOvertakingHold === undefined ? requireInputCount(request) : undefined;
}

/** @returns output tokens with which counting the input is not worth a call */
function computeComfortableOutputTokens({ rules, maximumCost }: HoldRequest, minimum: number): number {
  const { outputTokens } = maximumCost;
  if (!rules.canLowerMaxTokens) return outputTokens;
  return Math.min(outputTokens, Math.max(minimum, COMFORT_FACTOR * (rules.minOutputTokens ?? TEXT_TOKENS)));
}

/** @returns the maximum of output tokens by `output_tokens_per_minute`; or the rejection, if these are too few */
function computeMaxTokensByRate({ budget, rules, time }: HoldRequest, { minimum }: HoldSize): number | LimitRejection {
  const { fullAt, heldOutput } = budget;
  if (rules.output === undefined) return Number.POSITIVE_INFINITY;
  const left = computeUnitsInBucket(fullAt.output, rules.output, time) - heldOutput;
  if (left < minimum) {
    return createRateRejection('output_tokens_per_minute', fullAt.output, rules.output, time, minimum, heldOutput);
  }
  return rules.canLowerMaxTokens ? Math.max(minimum, Math.floor(left / 2)) : left;
}

/**
 * Admits a request. `max_tokens` is lowered to what the request should hold, unless that would leave hardly more for the next
 * request. The more is free, the more is held.
 */
function admitWithLoweredMaxTokens(
  request: HoldRequest,
  { preferred, affordable, free }: HoldSize,
  maxTokensByRate: number,
): HoldAdmission {
  const { budget, rules, time, maximumCost, budgetWindows, requestWindows } = request;
  const { inputCost, outputTokens, outputPrice } = maximumCost;
  const totalCost = computeTotalCost(maximumCost);
  const lowered = Math.min(outputTokens, Math.max(preferred, affordable));
  const isWorthIt = (outputTokens - lowered) * outputPrice * WORTH_LOWERING >= totalCost;
  const byMoney = isWorthIt || totalCost > free ? lowered : outputTokens;
  const maxTokens = Math.min(byMoney, maxTokensByRate);
  const loweredBy =
    maxTokensByRate < byMoney
      ? createLoweredByOutputRate(budget, time)
      : byMoney < outputTokens
        ? findTightestLimit(budgetWindows, requestWindows, getShareDivisor(rules))
        : undefined;
  return {
    kind: 'admitted',
    nanodollars: inputCost + maxTokens * outputPrice,
    inputTokens: computeInputTokensToHold(request),
    outputTokens: maxTokens,
    maxTokens,
    ...(loweredBy && { loweredBy }),
  };
}

/** @returns whether a model is allowed. A name with a date or `-latest` means its model, in the request and in the limit. */
export function isModelAllowed(names: readonly string[], allowed: readonly string[]): boolean {
  return allowed.some((name) => names.includes(name) || names.includes(stripDate(name)));
}
