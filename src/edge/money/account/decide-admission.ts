import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { MaximumCost } from '../../claude/pricing/hold-terms.ts';
import { HOUR_MS } from '../../kit/async/durations.ts';
import { admitCountRequest, admitFreeRequest, decideHold, lowerToolUses } from '../budget/budget.ts';
import type { BudgetWindow } from '../budget/budget-windows.ts';
import { computeCostRange } from '../budget/cost-range.ts';
import { findRejectionOfAllRequests } from '../budget/refusal-of-all.ts';
import { createLimitRejection } from '../budget/refusals.ts';
import { computeBucketsAfterAdmission, type Hold, takeTokenCountFromBucket } from '../budget/state.ts';
import { PERIODS } from '../budget/windows.ts';
import {
  type AdmissionDecision,
  type AdmissionRequest,
  CHOICE,
  type CredentialClaims,
  type LimitRejection,
  type RequestCostKind,
} from '../contracts/admission.ts';
import { type DimensionValues, dimensions, findRequestCountedInstead } from '../contracts/dimensions.ts';
import { fillAdmittedRequestFields } from '../ledger/settlement.ts';
import type { AccountState } from './account-state.ts';
import type { QueuedRequestsAhead } from './admission-queue.ts';
import {
  collectBudgetWindows,
  collectLeases,
  computeQuotaStatusOfAccount,
  createLatePoolRejection,
  createRejectedDecision,
  extendLeasesAndDecide,
  findLeaseShortage,
  findUnpayableDecision,
  getFallbackModels,
  getPayerKey,
  type LeaseShortage,
  listPayerKeys,
} from './lease-from-payers.ts';

/** Milliseconds that a hold lasts if nobody renews it. */
export const HOLD_MS = 15 * 60_000;
/** How many bytes a visitor may copy, create or import in a minute. */
const VISITOR_COPY_BYTES = 5_000_000;

interface AdmissionAttemptOptions {
  /** Whether a pool may still be asked: then a refusal by its earlier figures is not final. */
  mayAskPools: boolean;
  /** Whether the request can wait for money that others hold. */
  canWait: boolean;
  /** Who waits already for the same payer. It passes them with a small hold only. */
  ahead?: QueuedRequestsAhead | undefined;
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
    bound:
      bound && replaceTextTokens(bound, (forText) => state.answerLengths.estimateTokensForText(request.model, forText)),
  };
  const waiting = line.findQueuedDecision(sized.requestId);
  if (waiting !== undefined) return waiting;
  const waits = (sized.waitMs ?? 0) > 0;
  const canWait = waits && !line.isFull;
  const findQueuedAhead = () =>
    waits ? line.findRequestsAhead(listPayerKeys(state, sized), computeMinHold(state, sized)) : undefined;
  const attemptAdmission = (mayAsk: boolean) =>
    tryAdmission(state, sized, { mayAskPools: mayAsk, canWait, ahead: findQueuedAhead() });
  const attempt = attemptAdmission(true);
  const enqueueIfHeld = (decision: AdmissionDecision) => {
    if (!canWait || line.isFull || !isRejectedByOtherHolds(decision)) return recordRejection(state, sized, decision);
    // Count the input before waiting: the request may need less, and counting later would cost it its place in the queue.
    if (sized.bound?.countable && state.limits.decisionRules.counts === undefined) return COUNT_NEEDED;
    // Re-check after the await of a pool: the request may have left the queue, or have been repeated.
    if (state.ledger.findSettlableRow(sized.requestId)) return decision;
    return line.findQueuedDecision(sized.requestId) ?? enqueueForAdmission(state, sized, decision);
  };
  if (attempt.outcome !== 'short') return enqueueIfHeld(attempt);
  return extendLeasesAndDecide(state, attempt, () => attemptAdmission(false)).then(enqueueIfHeld);
}

/**
 * @param enough returns the tokens that are enough for a text, from those that are it whatever the model thinks. A budget for
 *   thinking may be used up, so there they stay
 */
function replaceTextTokens(bound: MaximumCost, enough: (forText: number) => number): MaximumCost {
  const { usefulOutput, leastOutput } = bound;
  return usefulOutput === undefined || leastOutput > 1 ? bound : { ...bound, usefulOutput: enough(usefulOutput) };
}

const COUNT_NEEDED = { outcome: 'count_needed' } as const;

type RejectedAdmission = Extract<AdmissionDecision, { outcome: 'refused' }>;

function isRejectedByOtherHolds(decision: AdmissionDecision): decision is RejectedAdmission {
  return decision.outcome === 'refused' && decision.refusal.reason === 'held' && !decision.refusal.byBatch;
}

/** Lets a request wait until others have settled, or its time is over. */
function enqueueForAdmission(
  state: AccountState,
  request: AdmissionRequest,
  refused: RejectedAdmission,
): Promise<AdmissionDecision> {
  const { waitMs = 0, requestId } = request;
  // `counted` takes from a bucket, and a request counts once.
  const uncounted = { ...request, counted: false };
  const { by, needed } = refused.refusal;
  return state.admissionQueue.waitInQueue({
    id: requestId,
    payers: listPayerKeys(state, request),
    by: getPayerKey(state, request, by),
    least: computeMinHold(state, request),
    needed,
    until: state.now() + waitMs,
    refused,
    budgetWindows: () => collectBudgetWindows(state, request, state.advanceBudgetToNow()),
    decideAgain: (isLast, ahead) => {
      // A backup was restored meanwhile, as in `extendLeasesAndDecide`.
      if (state.isReplaced) return { outcome: 'unreachable' };
      const attemptAdmission = (mayAsk: boolean) =>
        tryAdmission(state, uncounted, { mayAskPools: mayAsk, canWait: !isLast, ahead: ahead() });
      const attempt = attemptAdmission(isLast);
      const recordIfRejected = (decision: AdmissionDecision) => recordRejection(state, uncounted, decision);
      // At its deadline the request leaves the queue, so extend the pool's lease for this request only.
      if (attempt.outcome === 'short' && isLast)
        return extendLeasesAndDecide(state, attempt, () => attemptAdmission(false)).then(recordIfRejected);
      const decision = attempt.outcome === 'short' ? createLatePoolRejection(state, attempt) : attempt;
      if (!isRejectedByOtherHolds(decision) || isLast) return recordIfRejected(decision);
      const { refusal } = decision;
      return { outcome: 'held', by: getPayerKey(state, request, refusal.by), needed: refusal.needed };
    },
    extendPoolLeases: async () => {
      const { bound } = request;
      if (!bound) return;
      const demand = computeCostRange(bound, state.limits.decisionRules);
      await Promise.allSettled(collectLeases(state, request).map((lease) => lease.extendLease(demand)));
    },
  });
}

/** @returns the least that a request can hold, in nanodollars */
function computeMinHold({ limits }: AccountState, { bound }: AdmissionRequest): Nanodollars {
  return bound ? computeCostRange(bound, limits.decisionRules).least : 0;
}

/** @returns the worst case with the fewest tokens for a text with which it is tried where it would be refused for want of money */
function replaceTextTokensByFewest(
  { answerLengths: lengths }: AccountState,
  { model }: AdmissionRequest,
  bound: MaximumCost,
): MaximumCost {
  return replaceTextTokens(bound, (forText) => lengths.estimateTokensWorthTrying(model, forText));
}

/** Notes a refusal, so that it can be looked up. @returns the decision */
function recordRejection(
  state: AccountState,
  request: AdmissionRequest,
  decision: AdmissionDecision,
): AdmissionDecision {
  // Do not store rejections of visitors: anyone could cause writes by being rejected.
  if (state.visitorSession.isVisitor) return decision;
  if (decision.outcome === 'refused') {
    // If a later attempt is rejected, the request itself was not: its response is the failure of the attempt before.
    if (!request.earlier)
      state.refusals.addRejection(request, decision.refusal, state.now(), state.getPayingGroup(request));
  } else if (decision.outcome === 'full') {
    const { limit, most } = decision;
    state.refusals.addRejection(request, { kind: 'full', limit, most }, state.now());
  }
  return decision;
}

function tryAdmission(
  state: AccountState,
  request: AdmissionRequest,
  attempt: AdmissionAttemptOptions,
): AdmissionDecision | LeaseShortage {
  const { bound: worstCase, token } = request;
  if (worstCase) validateMaximumCost(worstCase);
  state.limits.updateDefaultLimits(request.defaults);
  const now = state.advanceBudgetToNow();
  if (token) {
    if (state.credentials.isTokenRevoked(token)) return { outcome: 'revoked' };
    state.recordCredentialUse(token, now);
  }
  const { about = {} } = request;
  for (const { name: kind, isVersion } of dimensions()) {
    const ref = isVersion ? String(about[kind] ?? '') : '';
    const [name = '', hash = ''] = ref.split('@');
    if (name && state.versions.readNamePointer(kind, name).withdrawn.includes(hash))
      return { outcome: 'withdrawn', kind, ref };
  }
  return worstCase
    ? decideAndPlaceHold(state, request, worstCase, now, attempt)
    : admitWithoutHold(state, request, now);
}

/** @returns why any request of a caller would be refused; null if they may ask. Takes nothing from the budget. */
export function findCallerRejection(
  state: AccountState,
  { asking, token, defaults }: Pick<AdmissionRequest, 'token' | 'defaults'> & { asking: RequestCostKind },
): AdmissionDecision | null {
  state.limits.updateDefaultLimits(defaults);
  const now = state.advanceBudgetToNow();
  if (token && state.credentials.isTokenRevoked(token)) return { outcome: 'revoked' };
  // Payers that lease from a pool are asked later, when the cost of the request is known.
  const purses = state.payers.flatMap((payer) => (payer.leases ? [] : payer.budgetWindows({ token }, now)));
  const refusal = findRejectionOfAllRequests(asking, state.budget, state.limits.decisionRules, now, purses);
  return refusal ? createRejectedDecision(state, refusal, now, token?.jti) : null;
}

/**
 * Admits a request that costs no money: a token count, or a request that never goes up. It takes from a bucket, without a
 * hold.
 */
function admitWithoutHold(state: AccountState, { free }: AdmissionRequest, now: number): AdmissionDecision {
  const { budget, ledger, storage } = state;
  const { effectiveLimits: limits, decisionRules: rules } = state.limits;
  const decision = (free ? admitFreeRequest : admitCountRequest)(budget, rules, now);
  if (decision.kind === 'refused') return createRejectedDecision(state, decision, now);
  // Stored here, because such a request has no row in the ledger that could restore this when the object wakes.
  if (free && rules.requests !== undefined) ledger.writeMetaValue('requests_full_at', String(budget.fullAt.requests));
  const storing = free?.storing;
  const full = storing && storage.findExceededLimit(storing, limits, now);
  if (full) return { outcome: 'full', ...full };
  const copied = storing && state.visitorSession.isVisitor ? storage.computeStoredBytes(storing) : 0;
  const tooMuch = state.buckets.takeUnitsOrReject('', 'copied_bytes_per_minute', VISITOR_COPY_BYTES, now, copied);
  if (tooMuch) return createRejectedDecision(state, tooMuch, now);
  if (storing) storage.addExpectedBytes(storing, now);
  return {
    outcome: 'admitted',
    hold: 0,
    quota: computeQuotaStatusOfAccount(state, now),
    unlisted: !state.isInAccountList,
  };
}

function decideAndPlaceHold(
  state: AccountState,
  request: AdmissionRequest,
  worstCase: MaximumCost,
  now: number,
  { mayAskPools: mayAsk, canWait, ahead }: AdmissionAttemptOptions,
): AdmissionDecision | LeaseShortage {
  const { budget, ledger, storage } = state;
  const { effectiveLimits: limits, decisionRules: rules } = state.limits;
  const { requestId, token, about = {} } = request;
  const { conversation, countedAs } = getStorageTarget(request, about);
  const earlierHold = budget.holds.get(requestId);
  if (earlierHold)
    return createAdmissionWithHold(state, request, earlierHold, now, collectBudgetWindows(state, request, now));
  // How much the answer will store is not known yet, but the size of the question is.
  const storing = conversation === undefined ? undefined : { conversation, bytes: request.adds ?? 1 };
  const full = storing && storage.findExceededLimit(storing, limits, now);
  if (full) return { outcome: 'full', ...full };

  const tooMany = token && findRequestQuotaRejection(state, token, countedAs, now);
  if (tooMany) return createRejectedDecision(state, tooMany, now, token.jti);
  const { repeats, counted, most, earlier } = request;
  const models = state.limitedTokens.getAllowedModels(token?.jti);
  const without = findUnpayableDecision(state, request);
  if (without) return without;
  const leases = collectLeases(state, request);
  const purses = collectBudgetWindows(state, request, now);
  const typical =
    canWait || ahead
      ? (forText: number) => state.answerLengths.estimateTypicalTokens(request.model, forText)
      : undefined;
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
  const decideForMaximumCost = (bound: MaximumCost) => {
    const decision = decideHold(budget, rules, bound, now, circumstances);
    const isOpen = decision.kind === 'count_needed' || decision.kind === 'behind';
    return {
      decision,
      short: isOpen ? undefined : findLeaseShortage(decision, leases, computeCostRange(bound, rules), mayAsk, now),
    };
  };
  let { decision, short } = decideForMaximumCost(worstCase);
  if (!short && decision.kind === 'refused' && decision.reason === 'spend') {
    const lean = replaceTextTokensByFewest(state, request, worstCase);
    if (lean !== worstCase) ({ decision, short } = decideForMaximumCost(lean));
  }
  if (decision.kind === 'count_needed') return { outcome: 'count_needed' };
  const { least } = computeCostRange(worstCase, rules);
  if (decision.kind === 'behind')
    return createRejectedDecision(state, { ...(ahead as QueuedRequestsAhead).refusal, needed: least }, now, token?.jti);
  if (short) return short;
  if (decision.kind === 'refused') {
    const { leastUses } = request;
    const isSpent = decision.reason === 'spend' && leastUses !== undefined;
    const fewer =
      isSpent &&
      (lowerToolUses(budget, rules, worstCase, leastUses, circumstances) ??
        lowerToolUses(budget, rules, replaceTextTokensByFewest(state, request, worstCase), leastUses, circumstances));
    if (fewer) return { outcome: 'fewer_uses', ...fewer };
    if (request.counted) takeTokenCountFromBucket(budget, rules);
    return createRejectedDecision(state, decision, now, token?.jti);
  }
  const { kind: _, ...amounts } = decision;
  const { nanodollars } = amounts;
  const { lowered } = request;
  if (lowered) amounts.loweredBy = { ...lowered, ...amounts.loweredBy };
  const jti = token?.jti ?? null;
  const group = state.getPayingGroup(request);
  const whose = { id: requestId, token: jti, group };
  const { model } = request;
  const deadline = now + (request.holdMs ?? HOLD_MS);
  const hold: Hold = { ...whose, ...amounts, model, at: now, deadline, stage: 'admitted' };
  const buckets = computeBucketsAfterAdmission(budget, rules, request.repeats);
  if (jti !== null) state.requestCounts.countAdmittedRequest(jti, requestId, request.route);
  // Armed before the row is written: a hold without an alarm would never be settled.
  state.alarm.scheduleAt(hold.deadline);
  // The row comes first: an id that was used before throws here, before anything has changed.
  ledger.insertAdmittedRow(
    hold,
    fillAdmittedRequestFields({ ...request, unpriced: !worstCase.known, token: token?.jti, group }),
    buckets,
    request.keep,
  );
  for (const payer of state.payers) payer.hold?.(hold, buckets);
  ahead?.recordPassed(requestId, nanodollars);
  if (storing) storage.addExpectedBytes(storing, now);
  if (conversation !== undefined) state.conversations.insertConversation(conversation, now, request.parent);
  ledger.foldSettledRowsIntoRollups();
  for (const lease of leases) lease.recordHold(now);
  return createAdmissionWithHold(state, request, hold, now, purses);
}

/**
 * @returns where the answer to a request is stored, and as which request it counts. A label that chooses a model stores nothing in its
 *   conversation, which may come to nothing, and is paid only where the request may go up for which it is
 */
function getStorageTarget({ route, requestId, conversation }: AdmissionRequest, about: DimensionValues) {
  return route === CHOICE
    ? { conversation: undefined, countedAs: findRequestCountedInstead(about) || requestId }
    : { conversation, countedAs: requestId };
}

/** @returns the refusal by a token that may make no more requests; undefined for any other. */
function findRequestQuotaRejection(
  { requestCounts }: AccountState,
  { jti, maxRequests }: CredentialClaims,
  requestId: string,
  now: number,
): LimitRejection | undefined {
  if (maxRequests === undefined || jti === undefined) return undefined;
  if (requestCounts.countRequestsOfToken(jti) < maxRequests || requestCounts.hasLedgerRow(requestId)) return undefined;
  return { ...createLimitRejection('requests', 'max_requests', now, now + HOUR_MS, maxRequests, 0, true), by: 'token' };
}

function createAdmissionWithHold(
  state: AccountState,
  request: AdmissionRequest,
  hold: Hold,
  now: number,
  purses: readonly BudgetWindow[],
): AdmissionDecision {
  const isLowered = hold.maxTokens < (request.bound?.outputTokens ?? 0);
  const standing = computeQuotaStatusOfAccount(state, now, hold.token ?? undefined);
  const isOwn = PERIODS.some((period) => standing[period] !== undefined) || standing.token !== undefined;
  const inUsd = isOwn || purses.some(({ by }) => by !== 'account');
  return {
    outcome: 'admitted',
    hold: hold.nanodollars,
    ...(isLowered && { maxTokens: hold.maxTokens }),
    ...(hold.loweredBy && { loweredBy: hold.loweredBy }),
    ...(inUsd && { inUsd }),
    ...(isOwn && {
      least: computeMinHold(state, {
        ...request,
        bound: request.bound && replaceTextTokensByFewest(state, request, request.bound),
      }),
    }),
    ...getFallbackModels(state),
    quota: standing,
    unlisted: !state.isInAccountList,
  };
}

function validateMaximumCost(worstCase: MaximumCost): void {
  const { inputTokens, inputCost, outputTokens, outputPrice, leastOutput, usefulOutput = 0 } = worstCase;
  for (const value of [inputTokens, inputCost, outputTokens, outputPrice, leastOutput, usefulOutput]) {
    if (!Number.isSafeInteger(value) || value < 0) throw new TypeError('The bounds must be non-negative integers.');
  }
}
