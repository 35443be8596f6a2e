/** Decides about a request once, without waiting, and holds its maximum cost in the same step, so that no limit is exceeded. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { MaximumCost } from '../../claude/pricing/hold-terms.ts';
import { HOUR_MS } from '../../kit/async/durations.ts';
import { admitCountRequest, admitFreeRequest, decideHold, type HoldDecision } from '../budget/budget.ts';
import type { BudgetWindow } from '../budget/budget-windows.ts';
import { computeCostRange } from '../budget/cost-range.ts';
import type { HoldDecisionOptions } from '../budget/hold-request.ts';
import { lowerToolUses } from '../budget/lower-tool-uses.ts';
import { createLimitRejection } from '../budget/refusals.ts';
import { computeBucketsAfterAdmission, type Hold, takeTokenCountFromBucket } from '../budget/state.ts';
import { PERIODS } from '../budget/windows.ts';
import {
  type AdmissionDecision,
  type AdmissionRequest,
  CHOICE,
  type CredentialClaims,
  type LimitRejection,
} from '../contracts/admission.ts';
import { type DimensionValues, findRequestCountedInstead, listDimensions } from '../contracts/dimensions.ts';
import { fillAdmittedRequestFields } from '../ledger/settlement.ts';
import type { AccountState } from './account-state.ts';
import type { QueuedRequestsAhead } from './admission-queue.ts';
import { computeQuotaStatusOfAccount, createRejectedDecision, getFallbackModels } from './decision-fields.ts';
import {
  collectBudgetWindows,
  collectLeases,
  findLeaseShortage,
  findUnpayableDecision,
  type LeaseShortage,
} from './lease-from-payers.ts';
import { lowerUsefulOutputToFewest } from './text-tokens.ts';

/** Milliseconds that a hold lasts if it is not renewed. */
export const HOLD_MS = 15 * 60_000;
/** How many bytes a visitor may copy, create or import in a minute. */
const VISITOR_COPY_BYTES = 5_000_000;

export const COUNT_NEEDED = { outcome: 'count_needed' } as const;

export interface AdmissionAttemptOptions {
  /** Whether a pool may still be asked: then a rejection by its earlier figures is not final. */
  mayAskPools: boolean;
  /** Whether the request can wait for money that other requests hold. */
  canWait: boolean;
  /** The requests that already wait for the same payer. This request may overtake them only with a small hold. */
  ahead?: QueuedRequestsAhead | undefined;
}

/**
 * Decides about a request by the budget as it is now, and holds the request's maximum cost if it is admitted.
 *
 * @returns the decision, or the pool leases that must be larger before it can be made
 * @throws TypeError if the maximum cost is invalid; nothing has changed then
 */
export function tryAdmission(
  state: AccountState,
  request: AdmissionRequest,
  options: AdmissionAttemptOptions,
): AdmissionDecision | LeaseShortage {
  const { maximumCost, token } = request;
  if (maximumCost) validateMaximumCost(maximumCost);
  state.limits.updateDefaultLimits(request.defaults);
  const now = state.advanceBudgetToNow();
  if (token) {
    if (state.credentials.isTokenRevoked(token)) return { outcome: 'revoked' };
    state.recordCredentialUse(token, now);
  }
  const suspended = state.suspension.decision;
  if (suspended) return suspended;
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
  const { conversation, countedAs } = getConversationAndCountedId(request, dimensions);
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
  const hold = placeHold(state, request, decision, { now, isUnpriced: !maximumCost.isPriced });
  options.ahead?.recordOvertaking(requestId, hold.nanodollars);
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
  const lowered = lowerUsefulOutputToFewest(state, request, maximumCost);
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
    maxOvertakingHold: ahead?.maxOvertakingHold,
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
  return lower(maximumCost) ?? lower(lowerUsefulOutputToFewest(state, request, maximumCost));
}

/** Stores the hold of an admitted request, and lets all payers note it. */
function placeHold(
  state: AccountState,
  request: AdmissionRequest,
  { kind: _, ...amounts }: Extract<HoldDecision, { kind: 'admitted' }>,
  { now, isUnpriced }: { now: number; isUnpriced: boolean },
): Hold {
  const { budget, ledger, limits } = state;
  const { requestId, model, token, loweredBy, holdMs = HOLD_MS } = request;
  if (loweredBy) amounts.loweredBy = { ...loweredBy, ...amounts.loweredBy };
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
function getConversationAndCountedId(
  { route, requestId, conversation }: AdmissionRequest,
  dimensions: DimensionValues,
) {
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
  const isLowered = hold.maxTokens < (request.maximumCost?.outputTokens ?? 0);
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
        maximumCost: request.maximumCost && lowerUsefulOutputToFewest(state, request, request.maximumCost),
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

/** @returns the cost of the shortest useful response, in nanodollars: the minimum that a request can hold */
export function computeMinHold({ limits }: AccountState, { maximumCost }: AdmissionRequest): Nanodollars {
  return maximumCost ? computeCostRange(maximumCost, limits.decisionRules).least : 0;
}
