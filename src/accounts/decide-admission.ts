import { decide, takeCountRequest, takeFreeRequest } from '../budget/budget.ts';
import { quotaStatusOf } from '../budget/quota-status.ts';
import { bucketsAfterAdmission, type Hold, place, takeCount } from '../budget/state.ts';
import type { AdmissionDecision, AdmissionRequest, QuotaStatus, Refusal } from '../durable/contracts/admission.ts';
import type { WorstCase } from '../pricing/hold-terms.ts';
import type { AccountState } from './account-state.ts';
import { type Asking, refusalOfAll } from './admission/may-ask.ts';
import { openingOf } from './ledger/settlement.ts';

/** How long a hold lasts that nobody renews. */
export const HOLD_MS = 15 * 60_000;

/**
 * Decides on a request and sets aside what it can cost. Nothing in here waits: between a check and its hold no other
 * request can come.
 *
 * @throws TypeError if the worst case is none; nothing has changed then
 */
export function decideAdmission(state: AccountState, request: AdmissionRequest): AdmissionDecision {
  const { bound: worstCase, token } = request;
  if (worstCase) checkWorstCase(worstCase);
  state.limits.noteDefaults(request.defaults);
  const now = state.advance();
  if (token) {
    if (state.credentials.isRevoked(token)) return { outcome: 'revoked' };
    state.credentials.see(token, now);
  }
  return worstCase ? placeHold(state, request, worstCase, now) : admitUnheld(state, request, now);
}

/** @returns why a caller would be refused whatever they asked for; null where they may ask. Takes nothing. */
export function refusalOfCaller(
  state: AccountState,
  { asking, token, defaults }: Pick<AdmissionRequest, 'token' | 'defaults'> & { asking: Asking },
): AdmissionDecision | null {
  state.limits.noteDefaults(defaults);
  const now = state.advance();
  if (token && state.credentials.isRevoked(token)) return { outcome: 'revoked' };
  const refusal = refusalOfAll(asking, state.budget, state.limits.rules, now);
  return refusal ? refuse(state, refusal, now) : null;
}

/** Admits what costs no money: a token count, or a request that never goes up. It takes from a bucket and holds nothing. */
function admitUnheld(state: AccountState, { free }: AdmissionRequest, now: number): AdmissionDecision {
  const { budget, ledger, storage } = state;
  const { limits, rules } = state.limits;
  const decision = (free ? takeFreeRequest : takeCountRequest)(budget, rules, now);
  if (decision.kind === 'refused') return refuse(state, decision, now);
  // It has no row in the ledger that could tell this when the object wakes.
  if (free && rules.requests !== undefined) ledger.setMeta('requests_full_at', String(budget.fullAt.requests));
  const storing = free?.storing;
  const full = storing && storage.full(storing, limits, now);
  if (full) return { outcome: 'full', ...full };
  if (storing) storage.expect(storing, now);
  return { outcome: 'admitted', hold: 0, standing: quotaStatusNow(state, now), unlisted: !state.listed };
}

function placeHold(
  state: AccountState,
  request: AdmissionRequest,
  worstCase: WorstCase,
  now: number,
): AdmissionDecision {
  const { budget, ledger, storage } = state;
  const { limits, rules } = state.limits;
  const { requestId, conversation, prefix, token } = request;
  const known = budget.holds.get(requestId);
  if (known) return admitHeld(state, known, worstCase, now);
  // Nobody knows yet how much the answer will store; how much the question stores is known.
  const storing = conversation === undefined ? undefined : { conversation, bytes: request.adds ?? 1 };
  const full = storing && storage.full(storing, limits, now);
  if (full) return { outcome: 'full', ...full };

  const decision = decide(budget, rules, worstCase, now, request);
  if (decision.kind === 'count_needed') return { outcome: 'count_needed' };
  if (decision.kind === 'refused') {
    if (request.counted) takeCount(budget, rules);
    return refuse(state, decision, now);
  }
  const { nanodollars, inputTokens, outputTokens, maxTokens } = decision;
  const deadline = now + HOLD_MS;
  const stage = 'admitted';
  const hold: Hold = { id: requestId, at: now, deadline, nanodollars, inputTokens, outputTokens, maxTokens, stage };
  const buckets = bucketsAfterAdmission(budget, rules, request.repeats);
  // The row first: an id that was used before throws here, and nothing has changed.
  ledger.open(hold, openingOf({ ...request, unpriced: !worstCase.known, token: token?.jti }), buckets);
  place(budget, hold, buckets);
  if (storing) storage.expect(storing, now);
  if (conversation !== undefined) state.conversations.begin(conversation, now);
  if (prefix !== undefined) state.publisher.use('prefix', prefix.split('@')[0] ?? '', now);
  ledger.fold();
  state.alarm.wakeFor(hold.deadline);
  return admitHeld(state, hold, worstCase, now);
}

function admitHeld(state: AccountState, hold: Hold, worstCase: WorstCase, now: number): AdmissionDecision {
  const lowered = hold.maxTokens < worstCase.outputTokens ? { maxTokens: hold.maxTokens } : {};
  const standing = quotaStatusNow(state, now);
  const fallbacks = fallbacksOf(state);
  return { outcome: 'admitted', hold: hold.nanodollars, ...lowered, ...fallbacks, standing, unlisted: !state.listed };
}

function refuse(state: AccountState, refusal: Refusal, now: number): AdmissionDecision {
  return { outcome: 'refused', refusal, ...fallbacksOf(state), standing: quotaStatusNow(state, now) };
}

/** @returns the models that may step in, by the account's limits. */
function fallbacksOf({ limits }: AccountState): { fallbacks?: readonly string[] } {
  const { fallback_models: fallbacks } = limits.limits;
  return fallbacks === undefined ? {} : { fallbacks };
}

function quotaStatusNow({ budget, limits }: AccountState, now: number): QuotaStatus {
  return quotaStatusOf(budget, limits.rules, now);
}

function checkWorstCase({ inputTokens, inputCost, outputTokens, outputPrice, leastOutput }: WorstCase): void {
  for (const value of [inputTokens, inputCost, outputTokens, outputPrice, leastOutput]) {
    if (!Number.isSafeInteger(value) || value < 0) throw new TypeError('A bound must be whole numbers, none negative.');
  }
}
