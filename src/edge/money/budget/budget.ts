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
import type { Refusal } from '../contracts/admission.ts';
import type { LoweredBy } from '../contracts/lowered-by.schema.ts';
import { adviceFor, adviceOnUses } from './advice.ts';
import { isPrepaid } from './binding-limits.ts';
import { capacity, level, take } from './bucket.ts';
import { amountLeft, type BudgetWindow, budgetWindows, isShared, minAmountLeft } from './budget-windows.ts';
import { affordableOutput, affordableUses, minTokensOf, toHeldWorstCase, totalCostOf } from './cost-range.ts';
import { checkBudgetWindows, rateRefusal, refusalBy } from './refusals.ts';
import { CEILING, type Rules } from './rules.ts';
import { ABANDONED_STAGE, advance, type Budget } from './state.ts';
import { limitName, NEVER, PERIODS } from './windows.ts';

/** What a request sets aside when it is admitted. */
interface Admitted {
  kind: 'admitted';
  nanodollars: Nanodollars;
  inputTokens: number;
  outputTokens: number;
  maxTokens: number;
  /** Whose limit has lowered `max_tokens`; absent if none has. */
  loweredBy?: LoweredBy;
}

/** The upstream must count its input before it can be decided on. */
interface CountNeeded {
  kind: 'count_needed';
}

/** It would have to pass those who wait, and needs more than it may hold then. */
interface BehindOthers {
  kind: 'behind';
}

export type Decision = Admitted | Refusal | CountNeeded | BehindOthers;

/** If lowering `max_tokens` leaves less than this many times `min_output_tokens`, counting the input is worth a call. */
const COMFORT_FACTOR = 16;
/** The input is not counted if it costs less than this part (one fourth) of the request's share. */
const WORTH_COUNTING = 4;
/** `max_tokens` is not lowered where that saves less than this part (a tenth) of the hold, if all of it fits. */
const WORTH_LOWERING = 10;

/** The decision on a request that costs nothing. */
type FreeDecision = { kind: 'admitted' } | Refusal;

/** Decides on a token count, which costs no money, and takes it from the bucket of counts, if that is limited. */
export function takeCountRequest(budget: Budget, rules: Rules, now: number): FreeDecision {
  return takeFromBucket('counts', budget, rules, now);
}

/** Decides on another request that costs no money, and takes it from the bucket of all requests, if that is limited. */
export function takeFreeRequest(budget: Budget, rules: Rules, now: number): FreeDecision {
  return takeFromBucket('requests', budget, rules, now);
}

function takeFromBucket(bucket: 'counts' | 'requests', budget: Budget, rules: Rules, now: number): FreeDecision {
  const time = advance(budget, now);
  const limit = rules[bucket];
  if (limit === undefined) return { kind: 'admitted' };
  const fullAt = budget.fullAt[bucket];
  if (level(fullAt, limit, time) < 1) {
    const name = bucket === 'counts' ? 'count_requests_per_minute' : 'requests_per_minute';
    return rateRefusal(name, fullAt, limit, time, 1, 0);
  }
  budget.fullAt = { ...budget.fullAt, [bucket]: take(fullAt, limit, time, 1) };
  return { kind: 'admitted' };
}

/** What decides about a request, beside its worst case. */
export interface Circumstances {
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
export function decide(
  budget: Budget,
  rules: Rules,
  exact: MaximumCost,
  now: number,
  circumstances: Circumstances = {},
): Decision {
  const question = createHoldRequest(budget, rules, exact, now, circumstances);
  const refusal = refusalInAnyCase(question);
  if (refusal) return refusal;
  const range = holdRangeOf(question);
  return 'kind' in range ? range : admitInRange(question, range);
}

/** A request to decide on, in the order of the three steps. */
interface HoldRequest extends Omit<Circumstances, 'earlier'> {
  budget: Budget;
  rules: Rules;
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

function createHoldRequest(
  budget: Budget,
  rules: Rules,
  exact: MaximumCost,
  now: number,
  circumstances: Circumstances,
): HoldRequest {
  const time = advance(budget, now);
  const worstCase = toHeldWorstCase(exact, rules);
  const { purses = budgetWindows(budget, rules), most } = circumstances;
  const { repeats, counted, models, typical, mostPassing } = circumstances;
  const own = ownWindows(circumstances);
  const least = minTokensOf(worstCase, rules);
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

function ownWindows({ most, earlier = 0 }: Circumstances): BudgetWindow[] {
  return most === undefined ? [] : [{ by: 'run', name: 'max_usd', limit: most, settled: earlier, held: 0, end: NEVER }];
}

/**
 * Decides to how many uses of the API's own tools a request is limited that was refused for want of money. As with `max_tokens` it
 * gets half of what is left, or what it needs at least.
 *
 * @returns undefined if what is left does not pay for the fewest, or limits are to refuse
 */
export function fewerUses(
  budget: Budget,
  rules: Rules,
  exact: MaximumCost,
  leastUses: number,
  circumstances: Circumstances,
): { uses: number; loweredBy: LoweredBy } | undefined {
  const worstCase = toHeldWorstCase(exact, rules);
  const { served } = worstCase;
  if (!served || !rules.shouldClamp) return undefined;
  const { purses = budgetWindows(budget, rules) } = circumstances;
  const own = ownWindows(circumstances);
  const parts = shareDivisor(rules);
  const left = minAmountLeft([...purses, ...own]);
  const share = Math.min(Math.floor(minAmountLeft(purses) / parts), left);
  const least = minTokensOf(worstCase, rules);
  const most = Math.min(served.uses - 1, affordableUses(left, worstCase, rules, least));
  const uses = Math.min(most, Math.max(leastUses, affordableUses(share, worstCase, rules, least)));
  const loweredBy = tightestLimit(purses, own, parts);
  return uses >= leastUses && loweredBy ? { uses, loweredBy } : undefined;
}

/** The first step. @returns why it must be refused, or counted, whatever it holds; undefined if it may be admitted */
function refusalInAnyCase(question: HoldRequest): Refusal | CountNeeded | undefined {
  return (
    refusalByModel(question) ?? refusalByMoney(question) ?? refusalByRequests(question) ?? refusalByInput(question)
  );
}

function refusalByModel({ rules, time, worstCase, models, purses, most }: HoldRequest): Refusal | undefined {
  for (const [by, allowed] of [['account', rules.models] as const, ['token', models] as const]) {
    const barred = allowed && worstCase.models.find((names) => !isAllowed(names, allowed));
    if (!barred) continue;
    return { ...refusalBy('model', 'models', time, time, 1, 0, true), by, model: barred[0] ?? '', allowed };
  }
  if (worstCase.known) return undefined;
  // An account without limits has purses, too: those of the ceiling.
  const isLimited =
    purses.some(({ by }) => by !== 'account') ||
    most !== undefined ||
    PERIODS.some((period) => rules.spend[period] !== undefined);
  if (!isLimited) return undefined;
  return { ...refusalBy('unpriced', 'models', time, time, 1, 0, true), model: worstCase.models[0]?.[0] ?? '' };
}

function refusalByMoney({
  budget,
  rules,
  time,
  worstCase,
  purses,
  requestWindows: own,
  minTokens: leastTokens,
  needed,
}: HoldRequest) {
  const overRun = checkBudgetWindows(own, needed, time, budget);
  if (overRun) return overRun;
  const broke = checkBudgetWindows(purses, needed, time, budget);
  const isTotal = broke?.by === 'account' && broke.limit === limitName('total');
  if (isTotal && isPrepaid(rules) && budget.windows.total.settled >= budget.credit) return { ...broke, noCredit: true };
  if (broke?.never) return { ...broke, advice: adviceFor(worstCase, rules, purses, leastTokens) };
  const advice = broke?.reason === 'spend' && adviceOnUses(worstCase, rules, minAmountLeft(purses), leastTokens);
  return advice ? { ...broke, advice } : broke;
}

/** @returns the refusal by how many requests run, or have come in a minute */
function refusalByRequests({ budget, rules, time, repeats = false }: HoldRequest): Refusal | undefined {
  const running = countRunning(budget, rules.concurrent);
  if (running >= rules.concurrent) {
    const left = rules.concurrent - running;
    return refusalBy('concurrency', 'concurrent_requests', time, time + 1_000, 1, left, rules.concurrent === 0);
  }
  const fullAt = budget.fullAt.requests;
  if (rules.requests === undefined || repeats || level(fullAt, rules.requests, time) >= 1) return undefined;
  return rateRefusal('requests_per_minute', fullAt, rules.requests, time, 1, 0);
}

function refusalByInput(question: HoldRequest): Refusal | CountNeeded | undefined {
  const { budget, rules, time, worstCase } = question;
  const { fullAt, heldInput } = budget;
  if (rules.input === undefined) return undefined;
  const inputTokens = inputOf(question);
  if (inputTokens <= level(fullAt.input, rules.input, time) - heldInput) return undefined;
  if (worstCase.countable) return requestCount(question);
  return rateRefusal('input_tokens_per_minute', fullAt.input, rules.input, time, inputTokens, heldInput);
}

/**
 * @returns the input tokens that it holds. An input without an upper bound holds the whole bucket. If it uses more, the account waits
 *   longer afterwards
 */
function inputOf({ rules, worstCase }: HoldRequest): number {
  const { inputTokens, bounded, countable } = worstCase;
  if (rules.input === undefined || bounded || countable) return inputTokens;
  return Math.min(inputTokens, Math.floor(capacity(rules.input)));
}

/** @returns that its input must be counted, or the refusal of that: the count is made for the account, and taken from its bucket */
function requestCount({ budget, rules, time, counted = false }: HoldRequest): Refusal | CountNeeded {
  const fullAt = budget.fullAt.counts;
  if (rules.counts !== undefined && !counted && level(fullAt, rules.counts, time) < 1) {
    return rateRefusal('count_requests_per_minute', fullAt, rules.counts, time, 1, 0);
  }
  return { kind: 'count_needed' };
}

/** How much a request may hold, in tokens of output. */
interface HoldRange {
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
function shareDivisor({ shouldClamp: clamp }: Rules): number {
  return clamp ? 2 : 1;
}

/** The second step. @returns how much it may hold; or why it waits, must be counted, or is refused for want of so much */
function holdRangeOf(question: HoldRequest): HoldRange | Refusal | CountNeeded | BehindOthers {
  const { rules, worstCase, purses, requestWindows: own, mostPassing } = question;
  const left = Math.min(minAmountLeft([...purses, ...own]), mostPassing ?? CEILING);
  const money = Math.min(Math.floor(minAmountLeft(purses) / shareDivisor(rules)), minAmountLeft(own), left);
  const share = affordableOutput(money, worstCase);
  const least = minTokensToHold(question, share, left);
  if (typeof least !== 'number') return least;
  const cost = worstCase.inputCost + least * worstCase.outputPrice;
  if (mostPassing !== undefined && cost > mostPassing) return { kind: 'behind' };
  if (worstCase.countable) {
    // Counting helps if the request may not fit at all, or if the input is a large part of the cost.
    const isLargePart = worstCase.inputCost * WORTH_COUNTING > money;
    const isUncomfortable = isLargePart && share < comfortableOutputOf(question) && mostPassing === undefined;
    if (cost > left || isUncomfortable) return requestCount(question);
  }
  const most = maxTokensByRate(question);
  return typeof most === 'number' ? { least, share, most, fits: totalCostOf(worstCase) <= left } : most;
}

/**
 * @param share the tokens that its share pays for
 * @param available all that is left
 * @returns the tokens that it should have; or the refusal of a request that can wait for them, since others hold the money
 */
function minTokensToHold(question: HoldRequest, share: number, available: Nanodollars): number | Refusal {
  const { budget, time, worstCase, purses, requestWindows: own, minTokens: least, needed, typical } = question;
  const { outputTokens, outputPrice, usefulOutput } = worstCase;
  if (!typical || share >= outputTokens) return least;
  const all = [...purses, ...own];
  // What is spent does not come back, so nobody waits for it.
  const unspent = Math.min(...all.map((purse) => purse.limit - purse.settled));
  const text = usefulOutput ?? TEXT_TOKENS;
  const usual = Math.max(text, typical(0));
  const patient = Math.min(outputTokens, Math.max(least, Math.min(usual, affordableOutput(unspent, worstCase))));
  const short = checkBudgetWindows(all, needed + (patient - least) * outputPrice, time, budget);
  if (short?.reason === 'held' && !short.byBatch) return short;
  if (short) return least;
  // It takes more than that only where that is left, and only from nobody else: others need what is left of a shared budget.
  const spare = purses.some(({ by }) => isShared(by)) ? 0 : affordableOutput(available, worstCase);
  return Math.max(patient, Math.min(outputTokens, typical(text), spare));
}

/** @returns tokens of output that need no count of the input: with fewer, counting it is worth a call */
function comfortableOutputOf({ rules, worstCase, minTokens: least }: HoldRequest): number {
  const { outputTokens } = worstCase;
  if (!rules.shouldClamp) return outputTokens;
  return Math.min(outputTokens, Math.max(least, COMFORT_FACTOR * (rules.minOutputTokens ?? TEXT_TOKENS)));
}

/** @returns the most tokens that the rate of output leaves to it; or the refusal, if these are too few */
function maxTokensByRate({ budget, rules, time, minTokens: least }: HoldRequest): number | Refusal {
  const { fullAt, heldOutput } = budget;
  if (rules.output === undefined) return Number.POSITIVE_INFINITY;
  const left = level(fullAt.output, rules.output, time) - heldOutput;
  if (left < least) {
    return rateRefusal('output_tokens_per_minute', fullAt.output, rules.output, time, least, heldOutput);
  }
  return rules.shouldClamp ? Math.max(least, Math.floor(left / 2)) : left;
}

/**
 * The third step: lowers `max_tokens` to what can be paid for, unless that would leave hardly more for the next request. The more is
 * left, the more is held.
 */
function admitInRange(question: HoldRequest, { least, share, most, fits }: HoldRange): Admitted {
  const { budget, rules, time, worstCase, purses, requestWindows: own } = question;
  const { inputCost, outputTokens, outputPrice } = worstCase;
  const lowered = Math.min(outputTokens, Math.max(least, share));
  const isWorthIt = (outputTokens - lowered) * outputPrice * WORTH_LOWERING >= totalCostOf(worstCase);
  const byMoney = isWorthIt || !fits ? lowered : outputTokens;
  const maxTokens = Math.min(byMoney, most);
  const loweredBy =
    most < byMoney
      ? loweredByRate(budget, time)
      : byMoney < outputTokens
        ? tightestLimit(purses, own, shareDivisor(rules))
        : undefined;
  return {
    kind: 'admitted',
    nanodollars: inputCost + maxTokens * outputPrice,
    inputTokens: inputOf(question),
    outputTokens: maxTokens,
    maxTokens,
    ...(loweredBy && { loweredBy }),
  };
}

function loweredByRate({ fullAt: { output } }: Budget, time: number): LoweredBy {
  // A bucket that is full will not be fuller.
  return { by: 'account', limit: 'output_tokens_per_minute', resets_at: resetTime(output > time ? output : NEVER) };
}

/**
 * @returns how many requests run. As many that are read on as the limit itself do not count where that decides, so that the next
 *   question goes at once; without an end a caller who stops each turn would have any number open at the upstream
 */
function countRunning({ holds, batchHoldCount: batched }: Budget, limit: number): number {
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
function tightestLimit(
  purses: readonly BudgetWindow[],
  requestWindows: readonly BudgetWindow[],
  parts: number,
): LoweredBy | undefined {
  const all = [
    ...purses.map((purse) => ({ purse, left: Math.floor(amountLeft(purse) / parts) })),
    ...requestWindows.map((purse) => ({ purse, left: amountLeft(purse) })),
  ];
  const [first] = all.sort((one, other) => one.left - other.left || other.purse.end - one.purse.end);
  return first && { by: first.purse.by, limit: first.purse.name, resets_at: resetTime(first.purse.end) };
}

function resetTime(end: number): string | null {
  return end >= NEVER ? null : new Date(end).toISOString();
}

/** @returns whether a model is allowed. A name with a date or `-latest` means its model, in the request and in the limit. */
export function isAllowed(names: readonly string[], allowed: readonly string[]): boolean {
  return allowed.some((name) => names.includes(name) || names.includes(stripDate(name)));
}
