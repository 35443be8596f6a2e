/**
 * The arithmetic of an account's budget: no storage, no clock, no waiting.
 *
 * Money: in every window settled + held ≤ limit. Rates: what is held of a bucket is never more than is in it, and it is
 * taken out when a request is settled, by what it used. Both break only where the upstream bills more than a hold;
 * then all of it is settled, and nothing is admitted until it has been made up for.
 */

import type { Refusal } from '../durable/contracts/admission.ts';
import type { Nanodollars } from '../pricing/cost.ts';
import type { ServedWorstCase, WorstCase } from '../pricing/hold-terms.ts';
import { undated } from '../pricing/models.ts';
import { capacity, level, take } from './bucket.ts';
import { freeIn, rateRefusal, refusalBy, shortOfMoney } from './refusals.ts';
import type { Rules } from './rules.ts';
import { advance, type Budget } from './state.ts';
import { PERIODS } from './windows.ts';

/** What a request sets aside when it is admitted. */
interface Admitted {
  kind: 'admitted';
  nanodollars: Nanodollars;
  inputTokens: number;
  outputTokens: number;
  maxTokens: number;
}

export type Decision = Admitted | Refusal | { kind: 'count_needed' };

/** A clamp that leaves less than this many times the least is worth counting the input for. */
const COMFORT = 16;
/** An input that costs a smaller part of a request's share is not counted. */
const WORTH_COUNTING = 4;

/** Decides on a token count, which costs nothing but its own bucket, and takes it if there is one. */
export function takeCountRequest(budget: Budget, rules: Rules, now: number): { kind: 'admitted' } | Refusal {
  return admitFrom('counts', budget, rules, now);
}

/** Decides on another request that costs nothing, and takes it from the bucket of all requests if there is one. */
export function takeFreeRequest(budget: Budget, rules: Rules, now: number): { kind: 'admitted' } | Refusal {
  return admitFrom('requests', budget, rules, now);
}

function admitFrom(
  bucket: 'counts' | 'requests',
  budget: Budget,
  rules: Rules,
  now: number,
): { kind: 'admitted' } | Refusal {
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

/** What matters of a request beside its bound. */
export interface Circumstances {
  /** A try of the same request was admitted before: it is one entry of `requests_per_minute`. */
  repeats?: boolean | undefined;
  /** The upstream was asked to count its input, for this decision alone. */
  counted?: boolean | undefined;
}

/** Decides on a request by its bound; changes nothing but the time. What is granted becomes a hold by `place`. */
export function decide(
  budget: Budget,
  rules: Rules,
  exact: WorstCase,
  now: number,
  { repeats = false, counted = false }: Circumstances = {},
): Decision {
  const time = advance(budget, now);
  const { fullAt } = budget;
  const bound = rules.estimatesServed && exact.served ? { ...exact, ...costsOf(exact.served) } : exact;
  const barred = rules.models && bound.models.find((names) => !isAllowed(names, rules.models ?? []));
  if (barred) {
    const model = barred[0] ?? '';
    return { ...refusalBy('model', 'models', time, time, 1, 0, true), model, allowed: rules.models ?? [] };
  }
  if (!bound.known && PERIODS.some((period) => rules.spend[period] !== undefined)) {
    return { ...refusalBy('unpriced', 'models', time, time, 1, 0, true), model: bound.models[0]?.[0] ?? '' };
  }

  const asked = bound.outputTokens;
  const least = rules.clamp ? Math.min(asked, Math.max(rules.leastOutput, bound.leastOutput)) : asked;
  // What can be counted may turn out to cost next to nothing.
  const sure = (bound.countable ? 0 : bound.inputCost) + least * bound.outputPrice;
  const broke = shortOfMoney(budget, rules, sure, time);
  if (broke) return broke.never ? { ...broke, advice: adviceFor(bound, rules, least) } : broke;
  if (budget.holds.size >= rules.concurrent) {
    const running = budget.holds.size;
    return refusalBy('concurrency', 'concurrent_requests', time, time + 1_000, 1, rules.concurrent - running, false);
  }
  if (rules.requests !== undefined && !repeats && level(fullAt.requests, rules.requests, time) < 1) {
    return rateRefusal('requests_per_minute', fullAt.requests, rules.requests, time, 1, 0);
  }
  const askCount = (): Decision => {
    // A count is the operator's to ask for: it comes out of the bucket that is for counts.
    const { counts } = rules;
    if (counts !== undefined && !counted && level(fullAt.counts, counts, time) < 1) {
      return rateRefusal('count_requests_per_minute', fullAt.counts, counts, time, 1, 0);
    }
    return { kind: 'count_needed' };
  };

  let inputTokens = bound.inputTokens;
  if (rules.input !== undefined) {
    // What nothing bounds takes the whole bucket: what it uses beyond is made up for by waiting.
    if (!bound.bounded && !bound.countable) inputTokens = Math.min(inputTokens, Math.floor(capacity(rules.input)));
    if (inputTokens > level(fullAt.input, rules.input, time) - budget.heldInput) {
      if (bound.countable) return askCount();
      return rateRefusal('input_tokens_per_minute', fullAt.input, rules.input, time, inputTokens, budget.heldInput);
    }
  }

  // Half of what is free, so that whoever comes next finds room as well; what is not to be lowered takes what it needs.
  const share = Math.floor(freeIn(budget, rules) / (rules.clamp ? 2 : 1));
  const affordable = affordableOutput(share, bound);
  const comfortable = rules.clamp ? Math.min(asked, Math.max(least, COMFORT * rules.leastOutput)) : asked;
  if (bound.countable && affordable < comfortable) {
    // To count the input helps where it is much of what is to be paid, or where it may not fit at all.
    const fits = bound.inputCost + least * bound.outputPrice <= freeIn(budget, rules);
    if (!fits || bound.inputCost * WORTH_COUNTING > share) return askCount();
  }
  let maxTokens = Math.min(asked, Math.max(least, affordable));
  if (rules.output !== undefined) {
    const room = level(fullAt.output, rules.output, time) - budget.heldOutput;
    if (room < least) {
      return rateRefusal('output_tokens_per_minute', fullAt.output, rules.output, time, least, budget.heldOutput);
    }
    maxTokens = Math.min(maxTokens, rules.clamp ? Math.max(least, Math.floor(room / 2)) : room);
  }
  const nanodollars = bound.inputCost + maxTokens * bound.outputPrice;
  return { kind: 'admitted', nanodollars, inputTokens, outputTokens: maxTokens, maxTokens };
}

function costsOf({ inputTokens, inputCost }: ServedWorstCase): Pick<WorstCase, 'inputTokens' | 'inputCost'> {
  return { inputTokens, inputCost };
}

/** A dated name, or `-latest`, is its model: in what is asked for and in what is allowed. */
function isAllowed(names: readonly string[], allowed: readonly string[]): boolean {
  return allowed.some((name) => names.includes(name) || names.includes(undated(name)));
}

/** @returns what helps a request that is larger than the whole of the tightest limit. */
function adviceFor(bound: WorstCase, rules: Rules, least: number): string {
  const { served, because } = bound;
  const limits = PERIODS.flatMap((period) => rules.spend[period] ?? []);
  const limit = Math.min(...limits);
  if (limit === 0) return 'which is 0: its administrator can raise it';
  if (served) {
    const { useCost, estimatedUseCost, useOutputPrice, uses, tool } = served;
    const perUse = (rules.estimatesServed ? estimatedUseCost : useCost) + least * useOutputPrice;
    const without = bound.inputCost + least * bound.outputPrice - uses * perUse;
    const fitting = Math.min(uses - 1, Math.floor((limit - without) / perUse));
    const estimated = served.inputCost + least * bound.outputPrice;
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
function affordableOutput(share: Nanodollars, bound: WorstCase): number {
  const left = share - bound.inputCost;
  if (left < 0) return -1;
  return bound.outputPrice > 0 ? Math.floor(left / bound.outputPrice) : Number.MAX_SAFE_INTEGER;
}
