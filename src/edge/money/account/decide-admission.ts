/** Decides whether a request may be sent, and holds its maximum cost in the same step, so that no limit is exceeded. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { MaximumCost } from '../../claude/pricing/hold-terms.ts';
import { HOUR_MS } from '../../kit/async/durations.ts';
import { admitCountRequest, admitFreeRequest, decideHold, type HoldDecision } from '../budget/budget.ts';
import type { BudgetWindow } from '../budget/budget-windows.ts';
import { computeCostRange } from '../budget/cost-range.ts';
import type { HoldDecisionOptions } from '../budget/hold-request.ts';
import { lowerToolUses } from '../budget/lower-tool-uses.ts';
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
import { type DimensionValues, findRequestCountedInstead, listDimensions } from '../contracts/dimensions.ts';
import { fillAdmittedRequestFields } from '../ledger/settlement.ts';
import type { AccountState } from './account-state.ts';
import type { QueuedRequest, QueuedRequestsAhead } from './admission-queue.ts';
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

/** Milliseconds that a hold lasts if it is not renewed. */
export const HOLD_MS = 15 * 60_000;
/** How many bytes a visitor may copy, create or import in a minute. */
const VISITOR_COPY_BYTES = 5_000_000;

interface AdmissionAttemptOptions {
  /** Whether a pool may still be asked: then a rejection by its earlier figures is not final. */
  mayAskPools: boolean;
  /** Whether the request can wait for money that other requests hold. */
  canWait: boolean;
  /** The requests that already wait for the same payer. This request may overtake them only with a small hold. */
  ahead?: QueuedRequestsAhead | undefined;
}

/**
 * Decides about a request, and holds its maximum cost. Nothing in here waits between a check and its hold, so no other request
 * can come between. If only the holds of other requests leave too little, it waits in the queue before it is rejected.
 *
 * @throws TypeError if the maximum cost is invalid; nothing has changed then
 */
export function decideAdmission(
  state: AccountState,
  request: AdmissionRequest,
): AdmissionDecision | Promise<AdmissionDecision> {
  const queued = state.admissionQueue.findQueuedDecision(request.requestId);
  if (queued !== undefined) return queued;
  const sized = estimateTextTokensOfRequest(state, request);
  const canWait = wantsToWait(sized) && !state.admissionQueue.isFull;
  const decisionOrShortage = tryNewRequest(state, sized, { canWait, mayAskPools: true });
  if (decisionOrShortage.outcome !== 'short') return enqueueOrRecord(state, sized, canWait, decisionOrShortage);
  const tryAgain = () => tryNewRequest(state, sized, { canWait, mayAskPools: false });
  return extendLeasesAndDecide(state, decisionOrShortage, tryAgain).then((decision) =>
    enqueueOrRecord(state, sized, canWait, decision),
  );
}

function wantsToWait({ waitMs = 0 }: AdmissionRequest): boolean {
  return waitMs > 0;
}

/** Tries to admit a request that is not in the queue, behind the requests that are. */
function tryNewRequest(
  state: AccountState,
  request: AdmissionRequest,
  options: Pick<AdmissionAttemptOptions, 'canWait' | 'mayAskPools'>,
): AdmissionDecision | LeaseShortage {
  const { admissionQueue: queue } = state;
  const ahead = wantsToWait(request)
    ? queue.findRequestsAhead(listPayerKeys(state, request), computeMinHold(state, request))
    : undefined;
  return tryAdmission(state, request, { ...options, ahead });
}

/** Lets a request wait if only other requests' holds are in the way, and records any other rejection. */
function enqueueOrRecord(
  state: AccountState,
  request: AdmissionRequest,
  canWait: boolean,
  decision: AdmissionDecision,
): AdmissionDecision | Promise<AdmissionDecision> {
  const { admissionQueue: queue, ledger, limits } = state;
  // Re-check after the await of a pool: the queue may be full by now.
  if (!canWait || queue.isFull || !isRejectedByOtherHolds(decision)) return recordRejection(state, request, decision);
  // Count the input before waiting: the request may need less, and counting later would cost it its place in the queue.
  if (request.bound?.countable && limits.decisionRules.counts === undefined) return COUNT_NEEDED;
  // Re-check after the await of a pool: the request may have left the queue, or have been repeated.
  if (ledger.findSettlableRow(request.requestId)) return decision;
  return queue.findQueuedDecision(request.requestId) ?? enqueueForAdmission(state, request, decision);
}

const COUNT_NEEDED = { outcome: 'count_needed' } as const;

type RejectedAdmission = Extract<AdmissionDecision, { outcome: 'refused' }>;

function isRejectedByOtherHolds(decision: AdmissionDecision): decision is RejectedAdmission {
  return decision.outcome === 'refused' && decision.refusal.reason === 'held' && !decision.refusal.byBatch;
}

/** Lets a request wait until other requests have settled, or its time is over. */
function enqueueForAdmission(
  state: AccountState,
  request: AdmissionRequest,
  rejected: RejectedAdmission,
): Promise<AdmissionDecision> {
  const { waitMs = 0, requestId } = request;
  // A counted request takes a unit from the bucket of token counts. The first decision has taken it, so later decisions must
  // not take another.
  const uncounted = { ...request, counted: false };
  const { by, needed } = rejected.refusal;
  return state.admissionQueue.waitInQueue({
    id: requestId,
    payers: listPayerKeys(state, request),
    by: getPayerKey(state, request, by),
    minHold: computeMinHold(state, request),
    needed,
    until: state.now() + waitMs,
    rejected,
    budgetWindows: () => collectBudgetWindows(state, request, state.advanceBudgetToNow()),
    decideAgain: (isLast, findAhead) => decideQueuedRequest(state, uncounted, isLast, findAhead),
    extendPoolLeases: async () => {
      const { bound } = request;
      if (!bound) return;
      const demand = computeCostRange(bound, state.limits.decisionRules);
      await Promise.allSettled(collectLeases(state, request).map((lease) => lease.extendLease(demand)));
    },
  });
}

/**
 * Decides again about a request that waits in the queue.
 *
 * @param isLast whether it has waited long enough. Then it leaves the queue, whatever the decision
 */
function decideQueuedRequest(
  state: AccountState,
  request: AdmissionRequest,
  isLast: boolean,
  findAhead: () => QueuedRequestsAhead | undefined,
): ReturnType<QueuedRequest['decideAgain']> {
  // A backup was restored while the request waited, so this state is out of date. The caller asks the account again, which then
  // decides with the restored state.
  if (state.isReplaced) return { outcome: 'unreachable' };
  const decisionOrShortage = tryAdmission(state, request, {
    mayAskPools: isLast,
    canWait: !isLast,
    ahead: findAhead(),
  });
  // Extend a pool's lease only for a request that leaves the queue. `extendPoolLeases` does it for those that stay.
  if (decisionOrShortage.outcome === 'short' && isLast) {
    const tryAgain = () => tryAdmission(state, request, { mayAskPools: false, canWait: false, ahead: findAhead() });
    return extendLeasesAndDecide(state, decisionOrShortage, tryAgain).then((decision) =>
      recordRejection(state, request, decision),
    );
  }
  const decision =
    decisionOrShortage.outcome === 'short' ? createLatePoolRejection(state, decisionOrShortage) : decisionOrShortage;
  if (!isRejectedByOtherHolds(decision) || isLast) return recordRejection(state, request, decision);
  const { by, needed } = decision.refusal;
  return { outcome: 'held', by: getPayerKey(state, request, by), needed };
}

/** @returns the cost of the shortest useful response, in nanodollars: the minimum that a request can hold */
function computeMinHold({ limits }: AccountState, { bound }: AdmissionRequest): Nanodollars {
  return bound ? computeCostRange(bound, limits.decisionRules).least : 0;
}

/** Lowers the tokens of the shortest useful response to what the account's earlier responses show. */
function estimateTextTokensOfRequest(state: AccountState, request: AdmissionRequest): AdmissionRequest {
  const { model, bound } = request;
  if (!bound) return request;
  return {
    ...request,
    bound: replaceTextTokens(bound, (most) => state.answerLengths.estimateTokensForText(model, most)),
  };
}

/** Lowers the tokens of the shortest useful response to the fewest that are worth a try before the request is rejected. */
function replaceTextTokensByFewest(
  { answerLengths }: AccountState,
  { model }: AdmissionRequest,
  maximumCost: MaximumCost,
): MaximumCost {
  return replaceTextTokens(maximumCost, (most) => answerLengths.estimateTokensWorthTrying(model, most));
}

/**
 * Replaces the tokens that leave room for a text (`usefulOutput`) by an estimate. With a thinking budget they stay, because the
 * model may use up the budget before it writes.
 *
 * @param estimate returns the estimate, given the tokens that are enough whatever the account's responses show
 */
function replaceTextTokens(maximumCost: MaximumCost, estimate: (mostTokens: number) => number): MaximumCost {
  const { usefulOutput, leastOutput } = maximumCost;
  const hasThinkingBudget = leastOutput > 1;
  if (usefulOutput === undefined || hasThinkingBudget) return maximumCost;
  return { ...maximumCost, usefulOutput: estimate(usefulOutput) };
}

/** Records a rejection, so that it can be looked up. @returns the decision */
function recordRejection(
  state: AccountState,
  request: AdmissionRequest,
  decision: AdmissionDecision,
): AdmissionDecision {
  // Anyone can be a visitor and cause rejections. Storing them would let strangers cause writes, so do not.
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
  options: AdmissionAttemptOptions,
): AdmissionDecision | LeaseShortage {
  const { bound: maximumCost, token } = request;
  if (maximumCost) validateMaximumCost(maximumCost);
  state.limits.updateDefaultLimits(request.defaults);
  const now = state.advanceBudgetToNow();
  if (token) {
    if (state.credentials.isTokenRevoked(token)) return { outcome: 'revoked' };
    state.recordCredentialUse(token, now);
  }
  const { dimensions = {} } = request;
  for (const { name: kind, isVersion } of listDimensions()) {
    const ref = isVersion ? String(dimensions[kind] ?? '') : '';
    const [name = '', hash = ''] = ref.split('@');
    if (name && state.versions.readNamePointer(kind, name).withdrawn.includes(hash))
      return { outcome: 'withdrawn', kind, ref };
  }
  if (maximumCost) return decideAndPlaceHold(state, request, maximumCost, now, options);
  if (token) state.recordLocation(token, now);
  return admitWithoutHold(state, request, now);
}

/** @returns why any request of a caller would be rejected; null if requests may be admitted. Takes nothing from the budget. */
export function findCallerRejection(
  state: AccountState,
  { asking, token, defaults }: Pick<AdmissionRequest, 'token' | 'defaults'> & { asking: RequestCostKind },
): AdmissionDecision | null {
  state.limits.updateDefaultLimits(defaults);
  const now = state.advanceBudgetToNow();
  if (token && state.credentials.isTokenRevoked(token)) return { outcome: 'revoked' };
  // Leave out payers that lease from a pool: how much they must lease depends on the cost, which is known only after the body
  // has been read.
  const budgetWindows = state.payers.flatMap((payer) => (payer.leases ? [] : payer.budgetWindows({ token }, now)));
  const refusal = findRejectionOfAllRequests(asking, state.budget, state.limits.decisionRules, now, budgetWindows);
  return refusal ? createRejectedDecision(state, refusal, now, token?.jti) : null;
}

/**
 * Admits a request that costs no money: a token count, or a request that is never sent. It takes from a bucket, without a
 * hold.
 */
function admitWithoutHold(state: AccountState, { free }: AdmissionRequest, now: number): AdmissionDecision {
  const { budget, ledger, storage } = state;
  const { effectiveLimits: limits, decisionRules: rules } = state.limits;
  const decision = (free ? admitFreeRequest : admitCountRequest)(budget, rules, now);
  if (decision.kind === 'refused') return createRejectedDecision(state, decision, now);
  // Such a request has no row in the ledger. Store the state of the request bucket separately, so that the object can restore
  // it when it wakes.
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
  maximumCost: MaximumCost,
  now: number,
  options: AdmissionAttemptOptions,
): AdmissionDecision | LeaseShortage {
  const { budget, storage } = state;
  const { effectiveLimits: limits, decisionRules: rules } = state.limits;
  const { requestId, token, dimensions = {} } = request;
  const { conversation, countedAs } = getStorageTarget(request, dimensions);
  const earlierHold = budget.holds.get(requestId);
  if (earlierHold)
    return createAdmissionWithHold(state, request, earlierHold, now, collectBudgetWindows(state, request, now));
  // The size of the response is not known yet, so check the storage limits with the size of the request only. Its characters are
  // a lower bound of its bytes. The conversation reports its size in bytes at the end of the turn.
  const storing = conversation === undefined ? undefined : { conversation, bytes: request.newCharacters ?? 1 };
  const full = storing && storage.findExceededLimit(storing, limits, now);
  if (full) return { outcome: 'full', ...full };

  const tooMany = token && findRequestQuotaRejection(state, token, countedAs, now);
  if (tooMany) return createRejectedDecision(state, tooMany, now, token.jti);
  const unpayable = findUnpayableDecision(state, request);
  if (unpayable) return unpayable;
  const leases = collectLeases(state, request);
  const holdOptions = createHoldDecisionOptions(state, request, now, options);
  const { decision, shortage } = decideHoldOrShortage(state, request, maximumCost, now, {
    leases,
    options: holdOptions,
    mayAskPools: options.mayAskPools,
  });
  if (decision.kind === 'count_needed') return COUNT_NEEDED;
  if (decision.kind === 'behind') {
    // Reject it for the reason for which the first request in the queue waits. That is `held`, so `enqueueOrRecord` queues this
    // request as well.
    const { least } = computeCostRange(maximumCost, rules);
    const { refusal } = options.ahead as QueuedRequestsAhead;
    return createRejectedDecision(state, { ...refusal, needed: least }, now, token?.jti);
  }
  if (shortage) return shortage;
  if (decision.kind === 'refused') {
    const fewer = decision.reason === 'spend' && lowerToolUsesOfRequest(state, request, maximumCost, holdOptions);
    if (fewer) return { outcome: 'fewer_uses', ...fewer };
    if (request.counted) takeTokenCountFromBucket(budget, rules);
    return createRejectedDecision(state, decision, now, token?.jti);
  }
  const hold = placeHold(state, request, decision, { now, isUnpriced: !maximumCost.known });
  options.ahead?.recordPassed(requestId, hold.nanodollars);
  if (storing) storage.addExpectedBytes(storing, now);
  if (conversation !== undefined) state.conversations.insertConversation(conversation, now, request.parent);
  state.ledger.foldSettledRowsIntoRollups();
  for (const lease of leases) lease.recordHold(now);
  return createAdmissionWithHold(state, request, hold, now, holdOptions.budgetWindows);
}

interface HoldOrShortage {
  decision: HoldDecision;
  /** Set if the request would fit if its leases were larger. Then the decision does not count. */
  shortage: LeaseShortage | undefined;
}

/** Decides about a hold. Before it rejects a request, it tries the fewest tokens that are worth a try. */
function decideHoldOrShortage(
  state: AccountState,
  request: AdmissionRequest,
  maximumCost: MaximumCost,
  now: number,
  {
    leases,
    options,
    mayAskPools,
  }: { leases: ReturnType<typeof collectLeases>; options: HoldDecisionOptions; mayAskPools: boolean },
): HoldOrShortage {
  const { decisionRules: rules } = state.limits;
  const decide = (cost: MaximumCost): HoldOrShortage => {
    const decision = decideHold(state.budget, rules, cost, now, options);
    const isOpen = decision.kind === 'count_needed' || decision.kind === 'behind';
    const demand = computeCostRange(cost, rules);
    return { decision, shortage: isOpen ? undefined : findLeaseShortage(decision, leases, demand, mayAskPools, now) };
  };
  const first = decide(maximumCost);
  const isRejected = !first.shortage && first.decision.kind === 'refused' && first.decision.reason === 'spend';
  if (!isRejected) return first;
  const lowered = replaceTextTokensByFewest(state, request, maximumCost);
  return lowered === maximumCost ? first : decide(lowered);
}

function createHoldDecisionOptions(
  state: AccountState,
  request: AdmissionRequest,
  now: number,
  { canWait, ahead }: AdmissionAttemptOptions,
): HoldDecisionOptions & { budgetWindows: readonly BudgetWindow[] } {
  const { model, repeats, counted, costLimit, earlier, token } = request;
  return {
    repeats,
    counted,
    budgetWindows: collectBudgetWindows(state, request, now),
    models: state.limitedTokens.getAllowedModels(token?.jti),
    costLimit,
    earlier,
    estimateTypicalTokens:
      canWait || ahead ? (forText) => state.answerLengths.estimateTypicalTokens(model, forText) : undefined,
    maxPassingHold: ahead?.maxPassingHold,
  };
}

/** @returns the uses of the API's own tools that the budget pays for; undefined if their number must not change, or pays for none */
function lowerToolUsesOfRequest(
  state: AccountState,
  request: AdmissionRequest,
  maximumCost: MaximumCost,
  options: HoldDecisionOptions,
): ReturnType<typeof lowerToolUses> {
  const { budget, limits } = state;
  const { leastUses } = request;
  if (leastUses === undefined) return undefined;
  const lower = (cost: MaximumCost) => lowerToolUses(budget, limits.decisionRules, cost, leastUses, options);
  return lower(maximumCost) ?? lower(replaceTextTokensByFewest(state, request, maximumCost));
}

/** Stores the hold of an admitted request, and lets all payers note it. */
function placeHold(
  state: AccountState,
  request: AdmissionRequest,
  { kind: _, ...amounts }: Extract<HoldDecision, { kind: 'admitted' }>,
  { now, isUnpriced }: { now: number; isUnpriced: boolean },
): Hold {
  const { budget, ledger, limits } = state;
  const { requestId, model, token, lowered, holdMs = HOLD_MS } = request;
  if (lowered) amounts.loweredBy = { ...lowered, ...amounts.loweredBy };
  const jti = token?.jti ?? null;
  const group = state.getPayingGroup(request);
  const deadline = now + holdMs;
  const hold: Hold = { id: requestId, token: jti, group, ...amounts, model, at: now, deadline, stage: 'admitted' };
  const buckets = computeBucketsAfterAdmission(budget, limits.decisionRules, request.repeats);
  if (jti !== null) state.requestCounts.countAdmittedRequest(jti, requestId, request.route);
  // Set the alarm before the row is written. If the object died in between, a hold without an alarm would never be settled.
  state.alarm.scheduleAt(deadline);
  // Insert the row before the payers note the hold: it throws for an id that was used before. What has changed by then is
  // harmless: `countAdmittedRequest` does not count such an id again, and an alarm without a hold does nothing.
  ledger.insertAdmittedRow(
    hold,
    fillAdmittedRequestFields({
      ...request,
      unpriced: isUnpriced,
      token: token?.jti,
      group,
      location: ledger.locations.findUnrecordedLocation(token),
    }),
    buckets,
    request.grant,
  );
  for (const payer of state.payers) payer.hold?.(hold, buckets);
  return hold;
}

/**
 * @returns where the answer to a request is stored, and as which request it counts. A label that chooses a model stores nothing
 *   in its conversation, which may never be created, and counts as the request for which it chooses
 */
function getStorageTarget({ route, requestId, conversation }: AdmissionRequest, dimensions: DimensionValues) {
  return route === CHOICE
    ? { conversation: undefined, countedAs: findRequestCountedInstead(dimensions) || requestId }
    : { conversation, countedAs: requestId };
}

/** @returns the rejection by a token that may make no more requests; undefined for any other. */
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
  budgetWindows: readonly BudgetWindow[],
): AdmissionDecision {
  const isLowered = hold.maxTokens < (request.bound?.outputTokens ?? 0);
  const quota = computeQuotaStatusOfAccount(state, now, hold.token ?? undefined);
  const isOwn = PERIODS.some((period) => quota[period] !== undefined) || quota.token !== undefined;
  const inUsd = isOwn || budgetWindows.some(({ by }) => by !== 'account');
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
    quota,
    unlisted: !state.isInAccountList,
  };
}

function validateMaximumCost(maximumCost: MaximumCost): void {
  const { inputTokens, inputCost, outputTokens, outputPrice, leastOutput, usefulOutput = 0 } = maximumCost;
  for (const value of [inputTokens, inputCost, outputTokens, outputPrice, leastOutput, usefulOutput]) {
    if (!Number.isSafeInteger(value) || value < 0) throw new TypeError('The bounds must be non-negative integers.');
  }
}
