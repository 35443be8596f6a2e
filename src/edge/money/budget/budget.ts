/**
 * The arithmetic of an account's budget: no storage, no clock, no waiting.
 *
 * Money: in every window, settled + held ≤ limit. Rates: running requests never hold more than is in a bucket; when a request
 * is settled, what it used is taken out. Both rules break only if the upstream bills more than a hold. Then all of it is
 * settled, and nothing is admitted until the debt is made up for.
 */

import { undated } from '../../claude/models/models.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { WorstCase } from '../../claude/pricing/hold-terms.ts';
import { TEXT_TOKENS } from '../../claude/pricing/thinking-off.ts';
import type { LoweredBy, Refusal } from '../contracts/admission.ts';
import { adviceFor } from './advice.ts';
import { capacity, level, take } from './bucket.ts';
import { affordableOutput, asHeld, costAtMost, leastTokens } from './cost-range.ts';
import { freeIn, isShared, leftIn, type Purse, pursesOf } from './purses.ts';
import { rateRefusal, refusalBy, shortOfMoney } from './refusals.ts';
import { CEILING, type Rules } from './rules.ts';
import { advance, type Budget, LEFT_STAGE } from './state.ts';
import { NEVER, PERIODS } from './windows.ts';

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

/** `behind`: it would have to pass those who wait, and needs more than it may hold then. */
export type Decision = Admitted | Refusal | { kind: 'count_needed' } | { kind: 'behind' };

/** If lowering `max_tokens` leaves less than this many times `min_output_tokens`, counting the input is worth a call. */
const COMFORT = 16;
/** The input is not counted if it costs less than this part (one fourth) of the request's share. */
const WORTH_COUNTING = 4;
/** `max_tokens` is not lowered where that saves less than this part (a tenth) of the hold, if all of it fits. */
const WORTH_LOWERING = 10;

/** The decision on a request that costs nothing. */
type FreeDecision = { kind: 'admitted' } | Refusal;

/** Decides on a token count, which costs no money, and takes it from the bucket of counts, if that is limited. */
export function takeCountRequest(budget: Budget, rules: Rules, now: number): FreeDecision {
  return admitFrom('counts', budget, rules, now);
}

/** Decides on another request that costs no money, and takes it from the bucket of all requests, if that is limited. */
export function takeFreeRequest(budget: Budget, rules: Rules, now: number): FreeDecision {
  return admitFrom('requests', budget, rules, now);
}

function admitFrom(bucket: 'counts' | 'requests', budget: Budget, rules: Rules, now: number): FreeDecision {
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
  purses?: readonly Purse[] | undefined;
  /** Models that the credential may use; absent if they are the same as those of its account. */
  models?: readonly string[] | undefined;
  /** The most that this request itself may cost. No other request needs room in it, so all of it may be held. */
  most?: Nanodollars | undefined;
  /** What the earlier tries of the request have cost. It counts only against `most`. */
  earlier?: Nanodollars | undefined;
  /**
   * For a request that can wait: the tokens that answers take, of which `room` leave room for a text. While others hold the money
   * for so many, it is refused as held. Default: `max_tokens` is lowered to what is free.
   */
  typical?: ((room: number) => number) | undefined;
  /** The most that it may hold, since others wait and it would pass them; absent if it passes nobody. */
  room?: Nanodollars | undefined;
}

/**
 * Decides on a request by its worst case: admits it, perhaps with a lowered `max_tokens`, or refuses it. It only moves the
 * budget to the time `now`; `addHold` places the hold.
 */
export function decide(
  budget: Budget,
  rules: Rules,
  exact: WorstCase,
  now: number,
  { repeats = false, counted = false, purses: given, models, most, earlier = 0, typical, room }: Circumstances = {},
): Decision {
  const time = advance(budget, now);
  const { fullAt } = budget;
  const worstCase = asHeld(exact, rules);
  for (const [by, allowed] of [['account', rules.models] as const, ['token', models] as const]) {
    const barred = allowed && worstCase.models.find((names) => !isAllowed(names, allowed));
    if (!barred) continue;
    return { ...refusalBy('model', 'models', time, time, 1, 0, true), by, model: barred[0] ?? '', allowed };
  }
  const purses = given ?? pursesOf(budget, rules);
  // An account without limits has purses, too: those of the ceiling.
  const isLimited =
    purses.some(({ by }) => by !== 'account') ||
    most !== undefined ||
    PERIODS.some((period) => rules.spend[period] !== undefined);
  const own: Purse[] =
    most === undefined ? [] : [{ by: 'run', name: 'max_usd', most, settled: earlier, held: 0, end: NEVER }];
  if (!worstCase.known && isLimited) {
    return { ...refusalBy('unpriced', 'models', time, time, 1, 0, true), model: worstCase.models[0]?.[0] ?? '' };
  }

  const asked = worstCase.outputTokens;
  const least = leastTokens(worstCase, rules);
  // An input that can still be counted may turn out to be cheap, so its cost is left out here.
  const sure = (worstCase.countable ? 0 : worstCase.inputCost) + least * worstCase.outputPrice;
  const overRun = shortOfMoney(own, sure, time, budget);
  if (overRun) return overRun;
  const broke = shortOfMoney(purses, sure, time, budget);
  if (broke) return broke.never ? { ...broke, advice: adviceFor(worstCase, rules, purses, least) } : broke;
  const running = runningIn(budget, rules.concurrent);
  if (running >= rules.concurrent) {
    return refusalBy('concurrency', 'concurrent_requests', time, time + 1_000, 1, rules.concurrent - running, false);
  }
  if (rules.requests !== undefined && !repeats && level(fullAt.requests, rules.requests, time) < 1) {
    return rateRefusal('requests_per_minute', fullAt.requests, rules.requests, time, 1, 0);
  }
  const askCount = (): Decision => {
    // The count is made for the account, so it is taken from the account's bucket for counts.
    const { counts } = rules;
    if (counts !== undefined && !counted && level(fullAt.counts, counts, time) < 1) {
      return rateRefusal('count_requests_per_minute', fullAt.counts, counts, time, 1, 0);
    }
    return { kind: 'count_needed' };
  };

  let inputTokens = worstCase.inputTokens;
  if (rules.input !== undefined) {
    // An input without an upper bound holds the whole bucket. If it uses more, the account waits longer afterwards.
    if (!worstCase.bounded && !worstCase.countable)
      inputTokens = Math.min(inputTokens, Math.floor(capacity(rules.input)));
    if (inputTokens > level(fullAt.input, rules.input, time) - budget.heldInput) {
      if (worstCase.countable) return askCount();
      return rateRefusal('input_tokens_per_minute', fullAt.input, rules.input, time, inputTokens, budget.heldInput);
    }
  }

  // A request gets half of what is free, so that the next one finds room, too. If it must not be lowered, it may take all.
  const all = [...purses, ...own];
  const free = Math.min(freeIn(all), room ?? CEILING);
  const parts = rules.clamp ? 2 : 1;
  const share = Math.min(Math.floor(freeIn(purses) / parts), freeIn(own), free);
  const affordable = affordableOutput(share, worstCase);
  let atLeast = least;
  if (typical && affordable < asked) {
    // What is spent does not come back, so nobody waits for it.
    const unspent = Math.min(...all.map((purse) => purse.most - purse.settled));
    const text = worstCase.usefulOutput ?? TEXT_TOKENS;
    const usual = Math.max(text, typical(0));
    const patient = Math.min(asked, Math.max(least, Math.min(usual, affordableOutput(unspent, worstCase))));
    const short = shortOfMoney(all, sure + (patient - least) * worstCase.outputPrice, time, budget);
    if (short?.reason === 'held' && !short.byBatch) return short;
    // It takes more than that only where that is free, and only from nobody else: others need what is free of a shared budget.
    const spare = purses.some(({ by }) => isShared(by)) ? 0 : affordableOutput(free, worstCase);
    if (!short) atLeast = Math.max(patient, Math.min(asked, typical(text), spare));
  }
  if (room !== undefined && worstCase.inputCost + atLeast * worstCase.outputPrice > room) return { kind: 'behind' };
  const comfortable = rules.clamp
    ? Math.min(asked, Math.max(least, COMFORT * (rules.leastOutput ?? TEXT_TOKENS)))
    : asked;
  if (worstCase.countable) {
    // Counting helps if the request may not fit at all, or if the input is a large part of the cost.
    const fits = worstCase.inputCost + atLeast * worstCase.outputPrice <= free;
    const isLargePart = worstCase.inputCost * WORTH_COUNTING > share;
    if (!fits || (isLargePart && affordable < comfortable && room === undefined)) return askCount();
  }
  // Here `max_tokens` is lowered to what can be paid for, unless that would leave hardly more room for the next request. The more is
  // free, the more is held.
  const whole = costAtMost(worstCase);
  const lowered = Math.min(asked, Math.max(atLeast, affordable));
  const isWorthIt = (asked - lowered) * worstCase.outputPrice * WORTH_LOWERING >= whole;
  let maxTokens = isWorthIt || whole > free ? lowered : asked;
  let loweredBy = maxTokens < asked ? tightest(purses, own, parts) : undefined;
  if (rules.output !== undefined) {
    const rest = level(fullAt.output, rules.output, time) - budget.heldOutput;
    if (rest < least) {
      return rateRefusal('output_tokens_per_minute', fullAt.output, rules.output, time, least, budget.heldOutput);
    }
    const most = rules.clamp ? Math.max(least, Math.floor(rest / 2)) : rest;
    if (most < maxTokens) {
      maxTokens = most;
      // A bucket that is full will not be fuller.
      const resetsAt = fullAt.output > time ? fullAt.output : NEVER;
      loweredBy = { by: 'account', limit: 'output_tokens_per_minute', resets_at: resetTime(resetsAt) };
    }
  }
  const nanodollars = worstCase.inputCost + maxTokens * worstCase.outputPrice;
  return {
    kind: 'admitted',
    nanodollars,
    inputTokens,
    outputTokens: maxTokens,
    maxTokens,
    ...(loweredBy && { loweredBy }),
  };
}

/** @returns how many requests run. What is read on is not counted where that decides */
function runningIn({ holds, batched }: Budget, most: number): number {
  const all = holds.size - batched;
  return all < most ? all : all - [...holds.values()].filter(({ stage }) => stage === LEFT_STAGE).length;
}

/**
 * @param own the limit of the request itself, of which it may have all
 * @param parts into how many parts the purses of those who pay are divided, of which it may have one
 * @returns the limit that leaves it the least; of several, the one that does so for the longest time
 */
function tightest(purses: readonly Purse[], own: readonly Purse[], parts: number): LoweredBy | undefined {
  const all = [
    ...purses.map((purse) => ({ purse, free: Math.floor(leftIn(purse) / parts) })),
    ...own.map((purse) => ({ purse, free: leftIn(purse) })),
  ];
  const [first] = all.sort((one, other) => one.free - other.free || other.purse.end - one.purse.end);
  return first && { by: first.purse.by, limit: first.purse.name, resets_at: resetTime(first.purse.end) };
}

function resetTime(end: number): string | null {
  return end >= NEVER ? null : new Date(end).toISOString();
}

/** @returns whether a model is allowed. A name with a date or `-latest` means its model, in the request and in the limit. */
export function isAllowed(names: readonly string[], allowed: readonly string[]): boolean {
  return allowed.some((name) => names.includes(name) || names.includes(undated(name)));
}
