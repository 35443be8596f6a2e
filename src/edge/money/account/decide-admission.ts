/** Admits, queues or rejects requests. `try-admission.ts` makes the single decision; this file decides who waits for another one. */

import { computeCostRange } from '../budget/cost-range.ts';
import { findRejectionOfAllRequests } from '../budget/refusal-of-all.ts';
import type { AdmissionDecision, AdmissionRequest, RequestCostKind } from '../contracts/admission.ts';
import type { AccountState } from './account-state.ts';
import type { QueuedRequest, QueuedRequestsAhead } from './admission-queue.ts';
import { createRejectedDecision } from './decision-fields.ts';
import {
  collectBudgetWindows,
  collectLeases,
  createLatePoolRejection,
  extendLeasesAndDecide,
  getPayerKey,
  type LeaseShortage,
  listPayerKeys,
} from './lease-from-payers.ts';
import { estimateUsefulOutput } from './text-tokens.ts';
import { type AdmissionAttemptOptions, COUNT_NEEDED, computeMinHold, tryAdmission } from './try-admission.ts';

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
  const estimated = estimateUsefulOutput(state, request);
  const canWait = wantsToWait(estimated) && !state.admissionQueue.isFull;
  const decisionOrShortage = tryNewRequest(state, estimated, { canWait, mayAskPools: true });
  if (decisionOrShortage.outcome !== 'short') return enqueueOrRecord(state, estimated, canWait, decisionOrShortage);
  const tryAgain = () => tryNewRequest(state, estimated, { canWait, mayAskPools: false });
  return extendLeasesAndDecide(state, decisionOrShortage, tryAgain).then((decision) =>
    enqueueOrRecord(state, estimated, canWait, decision),
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
  if (request.maximumCost?.countable && limits.decisionRules.counts === undefined) return COUNT_NEEDED;
  // Re-check after the await of a pool: the request may have left the queue, or have been repeated.
  if (ledger.findSettlableRow(request.requestId)) return decision;
  return queue.findQueuedDecision(request.requestId) ?? enqueueForAdmission(state, request, decision);
}

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
      const { maximumCost } = request;
      if (!maximumCost) return;
      const demand = computeCostRange(maximumCost, state.limits.decisionRules);
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

/** @returns why any request of a caller would be rejected; null if requests may be admitted. Takes nothing from the budget. */
export function findCallerRejection(
  state: AccountState,
  { costKind, token, defaults }: Pick<AdmissionRequest, 'token' | 'defaults'> & { costKind: RequestCostKind },
): AdmissionDecision | null {
  state.limits.updateDefaultLimits(defaults);
  const now = state.advanceBudgetToNow();
  if (token && state.credentials.isTokenRevoked(token)) return { outcome: 'revoked' };
  const suspended = state.suspension.decision;
  if (suspended) return suspended;
  // Leave out payers that lease from a pool: how much they must lease depends on the cost, which is known only after the body
  // has been read.
  const budgetWindows = state.payers.flatMap((payer) => (payer.leases ? [] : payer.budgetWindows({ token }, now)));
  const refusal = findRejectionOfAllRequests(costKind, state.budget, state.limits.decisionRules, now, budgetWindows);
  return refusal ? createRejectedDecision(state, refusal, now, token?.jti) : null;
}
