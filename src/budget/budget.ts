/**
 * The arithmetic of an account's budget: no storage, no clock, no waiting.
 *
 * Money: in every window settled + held ≤ limit. Rates: what is held of a bucket is never more than is in it, and it is
 * taken out when a request is settled, by what it used. Both break only where the upstream bills more than a hold;
 * then all of it is settled, and nothing is admitted until it has been made up for.
 */

import type { Refusal } from '../durable/contracts/admission.ts';
import type { Nanodollars } from '../pricing/cost.ts';
import type { WorstCase } from '../pricing/hold-terms.ts';
import { undated } from '../pricing/models.ts';
import { capacity, level, take } from './bucket.ts';
import { freeIn, type Purse, pursesOf } from './purses.ts';
import { rateRefusal, refusalBy, shortOfMoney } from './refusals.ts';
import type { Rules } from './rules.ts';
import { advance, type Budget } from './state.ts';
import { NEVER, PERIODS } from './windows.ts';

/** What a request sets aside when it is admitted. */
interface Admitted {
  kind: 'admitted';
  nanodollars: Nanodollars;
  inputTokens: number;
  outputTokens: number;
  maxTokens: number;
  /** Whether as much is left as `ROOMY` more of them need: this one keeps nobody out for the moment. */
  isRoomy: boolean;
}

export type Decision = Admitted | Refusal | { kind: 'count_needed' };

/** If lowering `max_tokens` leaves less than this many times `min_output_tokens`, counting the input is worth a call. */
const COMFORT = 16;
/** The input is not counted where it costs less than this part (one fourth) of the request's share. */
const WORTH_COUNTING = 4;

/** An account with room for so many more of a request notices no hold that is let go of some milliseconds late. */
const ROOMY = 16;

/** The decision on a request that costs nothing. */
type FreeDecision = { kind: 'admitted' } | Refusal;

/** Decides on a token count, which costs nothing but its own bucket, and takes it if there is one. */
export function takeCountRequest(budget: Budget, rules: Rules, now: number): FreeDecision {
  return admitFrom('counts', budget, rules, now);
}

/** Decides on another request that costs nothing, and takes it from the bucket of all requests if there is one. */
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

/** What else decides about a request, beside its worst case. */
export interface Circumstances {
  /** A try of the same request was admitted before: it is one entry of `requests_per_minute`. */
  repeats?: boolean | undefined;
  /** The upstream was asked to count its input, for this decision alone. */
  counted?: boolean | undefined;
  /** Limits in money beside the account's own: of the token that asks, or of what several accounts share. */
  purses?: readonly Purse[] | undefined;
  /** Models that the token that asks may use; absent where they are those of its account. */
  models?: readonly string[] | undefined;
  /** What the request may cost at the most, by itself. Nobody else needs room in that: it may be held to the end. */
  most?: Nanodollars | undefined;
}

/** Decides on a request by its worst case. Changes nothing but the time; `addHold` makes a hold of what is granted. */
export function decide(
  budget: Budget,
  rules: Rules,
  exact: WorstCase,
  now: number,
  { repeats = false, counted = false, purses: others = [], models, most }: Circumstances = {},
): Decision {
  const time = advance(budget, now);
  const { fullAt } = budget;
  const worstCase = asHeld(exact, rules);
  for (const [by, allowed] of [['account', rules.models] as const, ['token', models] as const]) {
    const barred = allowed && worstCase.models.find((names) => !isAllowed(names, allowed));
    if (!barred) continue;
    return { ...refusalBy('model', 'models', time, time, 1, 0, true), by, model: barred[0] ?? '', allowed };
  }
  const purses = [...pursesOf(budget, rules), ...others];
  const own: Purse[] =
    most === undefined ? [] : [{ by: 'run', name: 'max_usd', most, settled: 0, held: 0, end: NEVER }];
  if (
    !worstCase.known &&
    (others.length + own.length > 0 || PERIODS.some((period) => rules.spend[period] !== undefined))
  ) {
    return { ...refusalBy('unpriced', 'models', time, time, 1, 0, true), model: worstCase.models[0]?.[0] ?? '' };
  }

  const asked = worstCase.outputTokens;
  const least = leastTokens(worstCase, rules);
  // An input that can still be counted may turn out to be cheap, so it is left out here.
  const sure = (worstCase.countable ? 0 : worstCase.inputCost) + least * worstCase.outputPrice;
  const overRun = shortOfMoney(own, sure, time);
  if (overRun) return overRun;
  const broke = shortOfMoney(purses, sure, time);
  if (broke) return broke.never ? { ...broke, advice: adviceFor(worstCase, rules, purses, least) } : broke;
  const running = budget.holds.size - budget.batched;
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
    // An input without an upper bound takes the whole bucket. If it uses more, the account waits longer afterwards.
    if (!worstCase.bounded && !worstCase.countable)
      inputTokens = Math.min(inputTokens, Math.floor(capacity(rules.input)));
    if (inputTokens > level(fullAt.input, rules.input, time) - budget.heldInput) {
      if (worstCase.countable) return askCount();
      return rateRefusal('input_tokens_per_minute', fullAt.input, rules.input, time, inputTokens, budget.heldInput);
    }
  }

  // Half of what is free, so that the next request finds room too. A request that must not be lowered may take all.
  const free = freeIn([...purses, ...own]);
  const share = Math.min(Math.floor(freeIn(purses) / (rules.clamp ? 2 : 1)), freeIn(own));
  const affordable = affordableOutput(share, worstCase);
  const comfortable = rules.clamp ? Math.min(asked, Math.max(least, COMFORT * rules.leastOutput)) : asked;
  if (worstCase.countable && affordable < comfortable) {
    // Counting helps where the input is a large part of the cost, or where the request may not fit at all.
    const fits = worstCase.inputCost + least * worstCase.outputPrice <= free;
    if (!fits || worstCase.inputCost * WORTH_COUNTING > share) return askCount();
  }
  // Here `max_tokens` is lowered, to what can be paid for.
  let maxTokens = Math.min(asked, Math.max(least, affordable));
  let isRoomy = running + ROOMY < rules.concurrent;
  if (rules.input !== undefined) {
    isRoomy &&= inputTokens * (ROOMY + 1) <= level(fullAt.input, rules.input, time) - budget.heldInput;
  }
  if (rules.output !== undefined) {
    const room = level(fullAt.output, rules.output, time) - budget.heldOutput;
    if (room < least) {
      return rateRefusal('output_tokens_per_minute', fullAt.output, rules.output, time, least, budget.heldOutput);
    }
    maxTokens = Math.min(maxTokens, rules.clamp ? Math.max(least, Math.floor(room / 2)) : room);
    isRoomy &&= asked * (ROOMY + 1) <= room;
  }
  const nanodollars = worstCase.inputCost + maxTokens * worstCase.outputPrice;
  isRoomy &&= nanodollars * (ROOMY + 1) <= free && maxTokens === asked;
  return { kind: 'admitted', nanodollars, inputTokens, outputTokens: maxTokens, maxTokens, isRoomy };
}

/** @returns what a request costs at the least that is worth an answer, and at the most; nanodollars. */
export function rangeOf(exact: WorstCase, rules: Rules): { least: Nanodollars; most: Nanodollars } {
  const worstCase = asHeld(exact, rules);
  const { inputCost, outputPrice, outputTokens } = worstCase;
  const least = inputCost + leastTokens(worstCase, rules) * outputPrice;
  return { least, most: inputCost + outputTokens * outputPrice };
}

function leastTokens({ outputTokens, leastOutput }: WorstCase, rules: Rules): number {
  return rules.clamp ? Math.min(outputTokens, Math.max(rules.leastOutput, leastOutput)) : outputTokens;
}

/** @returns the worst case, or its estimate where the rules hold steps of the API's own tools at that. */
function asHeld(exact: WorstCase, { estimatesServed }: Rules): WorstCase {
  if (!estimatesServed || !exact.served) return exact;
  const { inputTokens, inputCost } = exact.served;
  return { ...exact, inputTokens, inputCost };
}

/** @returns whether a model is allowed. A name with a date or `-latest` means its model, in the request and in the limit. */
function isAllowed(names: readonly string[], allowed: readonly string[]): boolean {
  return allowed.some((name) => names.includes(name) || names.includes(undated(name)));
}

/** @returns what helps where a request needs more than the whole of the smallest limit: words that end a sentence. */
function adviceFor(worstCase: WorstCase, rules: Rules, purses: readonly Purse[], least: number): string {
  const { served, because } = worstCase;
  const limit = Math.min(...purses.map(({ most }) => most));
  if (limit === 0) return 'which is 0: its administrator can raise it';
  if (served) {
    const { useCost, estimatedUseCost, useOutputPrice, uses, tool } = served;
    const perUse = (rules.estimatesServed ? estimatedUseCost : useCost) + least * useOutputPrice;
    const without = worstCase.inputCost + least * worstCase.outputPrice - uses * perUse;
    const fitting = Math.min(uses - 1, Math.floor((limit - without) / perUse));
    const estimated = served.inputCost + least * worstCase.outputPrice;
    const help = [
      ...(served.single && fitting > 0 ? [`max_uses ${fitting} would fit`] : []),
      ...(!rules.estimatesServed && estimated <= limit ? ['served_tools: estimate in the account’s limits'] : []),
    ];
    return `because of ${tool}: ${help.length > 0 ? help.join(', or ') : 'leave it out, or have the limit raised'}`;
  }
  if (because !== undefined) return `because of ${because}, whose size is not known: send its content in the request`;
  return 'because of its length: send a shorter one, or use a cheaper model';
}

/** @returns the `max_tokens` that a share of what is free pays for; negative if not even the input. */
function affordableOutput(share: Nanodollars, worstCase: WorstCase): number {
  const left = share - worstCase.inputCost;
  if (left < 0) return -1;
  return worstCase.outputPrice > 0 ? Math.floor(left / worstCase.outputPrice) : Number.MAX_SAFE_INTEGER;
}
