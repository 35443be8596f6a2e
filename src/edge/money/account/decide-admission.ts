import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { MaximumCost } from '../../claude/pricing/hold-terms.ts';
import { HOUR_MS } from '../../kit/async/durations.ts';
import { decide, fewerUses, takeCountRequest, takeFreeRequest } from '../budget/budget.ts';
import type { BudgetWindow } from '../budget/budget-windows.ts';
import { costRangeOf } from '../budget/cost-range.ts';
import { refusalOfAll } from '../budget/refusal-of-all.ts';
import { refusalBy } from '../budget/refusals.ts';
import { bucketsAfterAdmission, type Hold, takeCount } from '../budget/state.ts';
import { PERIODS } from '../budget/windows.ts';
import {
  type AdmissionDecision,
  type AdmissionKind,
  type AdmissionRequest,
  CHOICE,
  type CredentialUse,
  type Refusal,
} from '../contracts/admission.ts';
import { countedRequest, type DimensionValues, dimensions } from '../contracts/dimensions.ts';
import { openingOf } from '../ledger/settlement.ts';
import type { AccountState } from './account-state.ts';
import type { RequestsAhead } from './admission-queue.ts';
import {
  budgetWindowsFor,
  checkPayer,
  fallbacksOf,
  findShortage,
  type LeaseShortage,
  latePoolRefusal,
  leaseAndDecide,
  leasesFor,
  payerOf,
  payersOf,
  quotaStatusNow,
  refuse,
} from './lease-from-payers.ts';

/** Milliseconds that a hold lasts if nobody renews it. */
export const HOLD_MS = 15 * 60_000;
/** How many bytes a visitor may copy, create or import in a minute. */
const VISITOR_COPY_BYTES = 5_000_000;

interface DecisionOptions {
  /** Whether a pool may still be asked: then a refusal by its earlier figures is not final. */
  mayAskPools: boolean;
  /** Whether the request can wait for money that others hold. */
  canWait: boolean;
  /** Who waits already for the same payer. It passes them with a small hold only. */
  ahead?: RequestsAhead | undefined;
}

/**
 * Decides on a request, and sets aside the most that it can cost. Nothing in here waits between a check and its hold, so no
 * other request can come between. If only the holds of others leave too little, it waits in the line before it is refused.
 *
 * @throws TypeError if the worst case is invalid; nothing has changed then
 */
export function decideAdmission(
  state: AccountState,
  request: AdmissionRequest,
): AdmissionDecision | Promise<AdmissionDecision> {
  const { admissionQueue: line } = state;
  const { bound } = request;
  const sized = {
    ...request,
    bound: bound && withTextTokens(bound, (forText) => state.answerLengths.enoughForText(request.model, forText)),
  };
  const waiting = line.find(sized.requestId);
  if (waiting !== undefined) return waiting;
  const waits = (sized.waitMs ?? 0) > 0;
  const canWait = waits && !line.isFull;
  const ahead = () => (waits ? line.findAhead(payersOf(state, sized), minHoldOf(state, sized)) : undefined);
  const attemptAdmission = (mayAsk: boolean) =>
    tryAdmission(state, sized, { mayAskPools: mayAsk, canWait, ahead: ahead() });
  const attempt = attemptAdmission(true);
  const waitIfHeld = (decision: AdmissionDecision) => {
    if (!canWait || line.isFull || !isHeld(decision)) return noteRefusal(state, sized, decision);
    // A count may show that it needs less. Asked for behind the wait, it would cost the request its place.
    if (sized.bound?.countable && state.limits.rules.counts === undefined) return COUNT_NEEDED;
    // While a pool was asked, it may have left, or have come once more.
    if (state.ledger.find(sized.requestId)) return decision;
    return line.find(sized.requestId) ?? enqueueRequest(state, sized, decision);
  };
  if (attempt.outcome !== 'short') return waitIfHeld(attempt);
  return leaseAndDecide(state, attempt, () => attemptAdmission(false)).then(waitIfHeld);
}

/**
 * @param enough returns the tokens that are enough for a text, from those that are it whatever the model thinks. A budget for
 *   thinking may be used up, so there they stay
 */
function withTextTokens(bound: MaximumCost, enough: (forText: number) => number): MaximumCost {
  const { usefulOutput, leastOutput } = bound;
  return usefulOutput === undefined || leastOutput > 1 ? bound : { ...bound, usefulOutput: enough(usefulOutput) };
}

const COUNT_NEEDED = { outcome: 'count_needed' } as const;

type RefusedDecision = Extract<AdmissionDecision, { outcome: 'refused' }>;

function isHeld(decision: AdmissionDecision): decision is RefusedDecision {
  return decision.outcome === 'refused' && decision.refusal.reason === 'held' && !decision.refusal.byBatch;
}

/** Lets a request wait until others have settled, or its time is over. */
function enqueueRequest(
  state: AccountState,
  request: AdmissionRequest,
  refused: RefusedDecision,
): Promise<AdmissionDecision> {
  const { waitMs = 0, requestId } = request;
  // `counted` takes from a bucket, and a request counts once.
  const uncounted = { ...request, counted: false };
  const { by, needed } = refused.refusal;
  return state.admissionQueue.join({
    id: requestId,
    payers: payersOf(state, request),
    by: payerOf(state, request, by),
    least: minHoldOf(state, request),
    needed,
    until: state.now() + waitMs,
    refused,
    budgetWindows: () => budgetWindowsFor(state, request, state.advance()),
    decide: (isLast, ahead) => {
      // A backup was restored meanwhile, as in `withLeases`.
      if (state.isReplaced) return { outcome: 'unreachable' };
      const attemptAdmission = (mayAsk: boolean) =>
        tryAdmission(state, uncounted, { mayAskPools: mayAsk, canWait: !isLast, ahead: ahead() });
      const attempt = attemptAdmission(isLast);
      const withNotedRefusal = (decision: AdmissionDecision) => noteRefusal(state, uncounted, decision);
      // The pool is asked for this request alone, since it has left the line.
      if (attempt.outcome === 'short' && isLast)
        return leaseAndDecide(state, attempt, () => attemptAdmission(false)).then(withNotedRefusal);
      const decision = attempt.outcome === 'short' ? latePoolRefusal(state, attempt) : attempt;
      if (!isHeld(decision) || isLast) return withNotedRefusal(decision);
      const { refusal } = decision;
      return { outcome: 'held', by: payerOf(state, request, refusal.by), needed: refusal.needed };
    },
    askPools: async () => {
      const { bound } = request;
      if (!bound) return;
      const demand = costRangeOf(bound, state.limits.rules);
      await Promise.allSettled(leasesFor(state, request).map((lease) => lease.extend(demand)));
    },
  });
}

/** @returns the least that a request can hold, in nanodollars */
function minHoldOf({ limits }: AccountState, { bound }: AdmissionRequest): Nanodollars {
  return bound ? costRangeOf(bound, limits.rules).least : 0;
}

/** @returns the worst case with the fewest tokens for a text with which it is tried where it would be refused for want of money */
function withFewestTokens(
  { answerLengths: lengths }: AccountState,
  { model }: AdmissionRequest,
  bound: MaximumCost,
): MaximumCost {
  return withTextTokens(bound, (forText) => lengths.tokensWorthTrying(model, forText));
}

/** Notes a refusal, so that it can be looked up. @returns the decision */
function noteRefusal(state: AccountState, request: AdmissionRequest, decision: AdmissionDecision): AdmissionDecision {
  // A stranger must not have rows written by being refused.
  if (state.visitorSession.isVisitor) return decision;
  if (decision.outcome === 'refused') {
    // Where a later try is refused, the request was not: the failed try before it is its answer.
    if (!request.earlier) state.refusals.add(request, decision.refusal, state.now(), state.groupOf(request));
  } else if (decision.outcome === 'full') {
    const { limit, most } = decision;
    state.refusals.add(request, { kind: 'full', limit, most }, state.now());
  }
  return decision;
}

function tryAdmission(
  state: AccountState,
  request: AdmissionRequest,
  attempt: DecisionOptions,
): AdmissionDecision | LeaseShortage {
  const { bound: worstCase, token } = request;
  if (worstCase) checkWorstCase(worstCase);
  state.limits.noteDefaults(request.defaults);
  const now = state.advance();
  if (token) {
    if (state.credentials.isRevoked(token)) return { outcome: 'revoked' };
    state.noteUse(token, now);
  }
  const { about = {} } = request;
  for (const { name: kind, isVersion } of dimensions()) {
    const ref = isVersion ? String(about[kind] ?? '') : '';
    const [name = '', hash = ''] = ref.split('@');
    if (name && state.versions.pointer(kind, name).withdrawn.includes(hash)) return { outcome: 'withdrawn', kind, ref };
  }
  return worstCase ? placeHold(state, request, worstCase, now, attempt) : admitWithoutHold(state, request, now);
}

/** @returns why any request of a caller would be refused; null if they may ask. Takes nothing from the budget. */
export function refusalOfCaller(
  state: AccountState,
  { asking, token, defaults }: Pick<AdmissionRequest, 'token' | 'defaults'> & { asking: AdmissionKind },
): AdmissionDecision | null {
  state.limits.noteDefaults(defaults);
  const now = state.advance();
  if (token && state.credentials.isRevoked(token)) return { outcome: 'revoked' };
  // Who leases money is asked once the request is known.
  const purses = state.payers.flatMap((payer) => (payer.leases ? [] : payer.budgetWindows({ token }, now)));
  const refusal = refusalOfAll(asking, state.budget, state.limits.rules, now, purses);
  return refusal ? refuse(state, refusal, now, token?.jti) : null;
}

/**
 * Admits a request that costs no money: a token count, or a request that never goes up. It takes from a bucket, without a
 * hold.
 */
function admitWithoutHold(state: AccountState, { free }: AdmissionRequest, now: number): AdmissionDecision {
  const { budget, ledger, storage } = state;
  const { limits, rules } = state.limits;
  const decision = (free ? takeFreeRequest : takeCountRequest)(budget, rules, now);
  if (decision.kind === 'refused') return refuse(state, decision, now);
  // Stored here, because such a request has no row in the ledger that could restore this when the object wakes.
  if (free && rules.requests !== undefined) ledger.setMeta('requests_full_at', String(budget.fullAt.requests));
  const storing = free?.storing;
  const full = storing && storage.exceededLimit(storing, limits, now);
  if (full) return { outcome: 'full', ...full };
  const copied = storing && state.visitorSession.isVisitor ? storage.sizeOf(storing) : 0;
  const tooMuch = state.buckets.take('', 'copied_bytes_per_minute', VISITOR_COPY_BYTES, now, copied);
  if (tooMuch) return refuse(state, tooMuch, now);
  if (storing) storage.expect(storing, now);
  return { outcome: 'admitted', hold: 0, quota: quotaStatusNow(state, now), unlisted: !state.isListed };
}

function placeHold(
  state: AccountState,
  request: AdmissionRequest,
  worstCase: MaximumCost,
  now: number,
  { mayAskPools: mayAsk, canWait, ahead }: DecisionOptions,
): AdmissionDecision | LeaseShortage {
  const { budget, ledger, storage } = state;
  const { limits, rules } = state.limits;
  const { requestId, token, about = {} } = request;
  const { conversation, countedAs } = storageOf(request, about);
  const earlierHold = budget.holds.get(requestId);
  if (earlierHold) return admitWithHold(state, request, earlierHold, now, budgetWindowsFor(state, request, now));
  // How much the answer will store is not known yet, but the size of the question is.
  const storing = conversation === undefined ? undefined : { conversation, bytes: request.adds ?? 1 };
  const full = storing && storage.exceededLimit(storing, limits, now);
  if (full) return { outcome: 'full', ...full };

  const tooMany = token && checkRequestQuota(state, token, countedAs, now);
  if (tooMany) return refuse(state, tooMany, now, token.jti);
  const { repeats, counted, most, earlier } = request;
  const models = state.limitedTokens.modelsOf(token?.jti);
  const without = checkPayer(state, request);
  if (without) return without;
  const leases = leasesFor(state, request);
  const purses = budgetWindowsFor(state, request, now);
  const typical =
    canWait || ahead ? (forText: number) => state.answerLengths.typicalTokens(request.model, forText) : undefined;
  const circumstances = {
    repeats,
    counted,
    purses,
    models,
    most,
    earlier,
    typical,
    mostPassing: ahead?.maxPassingHold,
  };
  const decideOn = (bound: MaximumCost) => {
    const decision = decide(budget, rules, bound, now, circumstances);
    const isOpen = decision.kind === 'count_needed' || decision.kind === 'behind';
    return {
      decision,
      short: isOpen ? undefined : findShortage(decision, leases, costRangeOf(bound, rules), mayAsk, now),
    };
  };
  let { decision, short } = decideOn(worstCase);
  if (!short && decision.kind === 'refused' && decision.reason === 'spend') {
    const lean = withFewestTokens(state, request, worstCase);
    if (lean !== worstCase) ({ decision, short } = decideOn(lean));
  }
  if (decision.kind === 'count_needed') return { outcome: 'count_needed' };
  const { least } = costRangeOf(worstCase, rules);
  if (decision.kind === 'behind')
    return refuse(state, { ...(ahead as RequestsAhead).refusal, needed: least }, now, token?.jti);
  if (short) return short;
  if (decision.kind === 'refused') {
    const { leastUses } = request;
    const isSpent = decision.reason === 'spend' && leastUses !== undefined;
    const fewer =
      isSpent &&
      (fewerUses(budget, rules, worstCase, leastUses, circumstances) ??
        fewerUses(budget, rules, withFewestTokens(state, request, worstCase), leastUses, circumstances));
    if (fewer) return { outcome: 'fewer_uses', ...fewer };
    if (request.counted) takeCount(budget, rules);
    return refuse(state, decision, now, token?.jti);
  }
  const { kind: _, ...amounts } = decision;
  const { nanodollars } = amounts;
  const { lowered } = request;
  if (lowered) amounts.loweredBy = { ...lowered, ...amounts.loweredBy };
  const jti = token?.jti ?? null;
  const group = state.groupOf(request);
  const whose = { id: requestId, token: jti, group };
  const { model } = request;
  const deadline = now + (request.holdMs ?? HOLD_MS);
  const hold: Hold = { ...whose, ...amounts, model, at: now, deadline, stage: 'admitted' };
  const buckets = bucketsAfterAdmission(budget, rules, request.repeats);
  if (jti !== null) state.requestCounts.add(jti, requestId, request.route);
  // Armed before the row is written: a hold without an alarm would never be settled.
  state.alarm.schedule(hold.deadline);
  // The row comes first: an id that was used before throws here, before anything has changed.
  ledger.open(
    hold,
    openingOf({ ...request, unpriced: !worstCase.known, token: token?.jti, group }),
    buckets,
    request.keep,
  );
  for (const payer of state.payers) payer.hold?.(hold, buckets);
  ahead?.notePassed(requestId, nanodollars);
  if (storing) storage.expect(storing, now);
  if (conversation !== undefined) state.conversations.begin(conversation, now, request.parent);
  ledger.fold();
  for (const lease of leases) lease.noteHold(now);
  return admitWithHold(state, request, hold, now, purses);
}

/**
 * @returns where the answer to a request is stored, and as which request it counts. A label that chooses a model stores nothing in its
 *   conversation, which may come to nothing, and is paid only where the request may go up for which it is
 */
function storageOf({ route, requestId, conversation }: AdmissionRequest, about: DimensionValues) {
  return route === CHOICE
    ? { conversation: undefined, countedAs: countedRequest(about) || requestId }
    : { conversation, countedAs: requestId };
}

/** @returns the refusal by a token that may make no more requests; undefined for any other. */
function checkRequestQuota(
  { requestCounts }: AccountState,
  { jti, maxRequests }: CredentialUse,
  requestId: string,
  now: number,
): Refusal | undefined {
  if (maxRequests === undefined || jti === undefined) return undefined;
  if (requestCounts.countOf(jti) < maxRequests || requestCounts.has(requestId)) return undefined;
  return { ...refusalBy('requests', 'max_requests', now, now + HOUR_MS, maxRequests, 0, true), by: 'token' };
}

function admitWithHold(
  state: AccountState,
  request: AdmissionRequest,
  hold: Hold,
  now: number,
  purses: readonly BudgetWindow[],
): AdmissionDecision {
  const isLowered = hold.maxTokens < (request.bound?.outputTokens ?? 0);
  const standing = quotaStatusNow(state, now, hold.token ?? undefined);
  const isOwn = PERIODS.some((period) => standing[period] !== undefined) || standing.token !== undefined;
  const inUsd = isOwn || purses.some(({ by }) => by !== 'account');
  return {
    outcome: 'admitted',
    hold: hold.nanodollars,
    ...(isLowered && { maxTokens: hold.maxTokens }),
    ...(hold.loweredBy && { loweredBy: hold.loweredBy }),
    ...(inUsd && { inUsd }),
    ...(isOwn && {
      least: minHoldOf(state, { ...request, bound: request.bound && withFewestTokens(state, request, request.bound) }),
    }),
    ...fallbacksOf(state),
    quota: standing,
    unlisted: !state.isListed,
  };
}

function checkWorstCase(worstCase: MaximumCost): void {
  const { inputTokens, inputCost, outputTokens, outputPrice, leastOutput, usefulOutput = 0 } = worstCase;
  for (const value of [inputTokens, inputCost, outputTokens, outputPrice, leastOutput, usefulOutput]) {
    if (!Number.isSafeInteger(value) || value < 0) throw new TypeError('A bound must be whole numbers, none negative.');
  }
}
