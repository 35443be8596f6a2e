/** Asks the account of a request to admit one attempt and to hold its maximum cost, before the attempt is sent. */

import { canAnyUpstreamCountTokens } from '../../claude/count-tokens.ts';
import { MAX_MODEL_NAME_CHARACTERS } from '../../claude/models/models.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { MaximumCost, SettlementTerms } from '../../claude/pricing/hold-terms.ts';
import { ObjectUnreachableError } from '../../durable/call-object.ts';
import { ApiError } from '../../kit/http/errors.ts';
import type { AdmissionDecision } from '../contracts/admission.ts';
import { sendSettlement } from '../contracts/call-account.ts';
import { createStoredGrant, serializeUnadmittedGrant } from './attempt-settlement.ts';
import { BilledAttempt } from './billed-attempt.ts';
import {
  computeMaximumCostAndTerms,
  countInputTokensAtUpstream,
  getHoldPrices,
  isPromptWorthCounting,
  type PromptCount,
} from './bounds.ts';
import { captureBudgetAtAdmission } from './budget-left.ts';
import { createLoweredLimitHeaders, createQuotaHeaders } from './limit-headers.ts';
import type { StoredGrant } from './price-outcome.ts';
import {
  createAdmissionRequest,
  createUnsentSettlement,
  requestAdmissionAndListAccount,
  requireAdmittedDecision,
  waitForAdmission,
} from './request-admission.ts';
import type { BillingContext } from './request-to-bill.ts';
import {
  createFallbackVariant,
  getMinToolUses,
  limitToolUses,
  type RequestVariant,
  withLimitableTools,
} from './request-variant.ts';

/** What differs between the attempts of a request. */
export interface AttemptOptions {
  /** The id of the attempt in the ledger. */
  requestId: string;
  /** Set for a later attempt. */
  later?: {
    /** What the earlier attempts have cost. It counts only against the maximum cost of the request itself. */
    earlierCost: Nanodollars;
    /** Whether it may wait in the queue: not where the response is otherwise the failure of the attempt before. */
    canWait: boolean;
  };
  /** Counts the prompt of the attempt, if nothing of its response arrives. It must not keep the body in memory. */
  countPrompt(): Promise<number | undefined>;
}

/** An admitted attempt, and the variant of the request that it sends. */
export interface ReservedAttempt {
  attempt: BilledAttempt;
  variant: RequestVariant;
}

/**
 * Asks the account to admit an attempt. This is one call to the account's object, and a second one if only an exact count of
 * the input can show whether the attempt fits. If the budget does not pay for the model, its fallback models are tried.
 *
 * @throws ApiError 401 for a revoked credential, 403 for a model that is not allowed, 429 for a limit that is reached, 503
 *   while the account's object cannot be reached
 */
export async function reserveAttempt(
  context: BillingContext,
  variant: RequestVariant,
  options: AttemptOptions,
): Promise<ReservedAttempt> {
  const startedAt = Date.now();
  const first = await askAccount(context, variant, options);
  let latest = first;
  const isUnaffordable = first.decision.outcome === 'refused' && first.decision.refusal.reason === 'spend';
  while (isUnaffordable && latest.decision.outcome !== 'admitted') {
    const next = await createFallbackVariant(context, latest.variant);
    if (!next) break;
    latest = await askAccount(context, next, options);
  }
  if (isUnaffordable && latest.decision.outcome !== 'admitted') latest = first;
  return await createReservedAttempt(context, latest, options, startedAt);
}

/**
 * Asks the account to admit an attempt by the first fallback model that it admits.
 *
 * @returns undefined if the account admits none of the fallback models
 * @throws ApiError with a status of at least 500, as `reserveAttempt`
 */
export async function reserveFallbackAttempt(
  context: BillingContext,
  variant: RequestVariant,
  options: AttemptOptions,
): Promise<ReservedAttempt | undefined> {
  const startedAt = Date.now();
  let next = await createFallbackVariant(context, variant);
  while (next) {
    try {
      return await createReservedAttempt(context, await askAccount(context, next, options), options, startedAt);
    } catch (thrown) {
      // A status below 500 is a rejection: the limits do not allow this fallback model, or no upstream serves it. Try the next
      // one.
      if (!(thrown instanceof ApiError) || thrown.status >= 500) throw thrown;
    }
    next = await createFallbackVariant(context, next);
  }
  return undefined;
}

/** The decision of an account about one variant of a request, and what it was asked. */
interface VariantDecision {
  variant: RequestVariant;
  decision: AdmissionDecision;
  maximumCost: MaximumCost;
  terms: SettlementTerms;
  /** When the account was asked about this variant; milliseconds since 1970. */
  startedAt: number;
}

type Admission = ReturnType<typeof requireAdmittedDecision>;

/**
 * Creates the attempt that an account has admitted.
 *
 * @param reservingSince when the account was asked about the first variant; milliseconds since 1970
 * @throws ApiError if the account has not admitted the attempt
 */
async function createReservedAttempt(
  context: BillingContext,
  decided: VariantDecision,
  options: AttemptOptions,
  reservingSince: number,
): Promise<ReservedAttempt> {
  const { variant, decision, maximumCost, terms } = decided;
  const { requestId, countPrompt } = options;
  // Check the decision within `settleIfAdmissionLost`: if a pool could not be reached, the attempt is settled as if the account
  // itself could not be reached.
  const admission = await settleIfAdmissionLost(context, variant, options, async () =>
    requireAdmittedDecision(decision, context.settings.models),
  );
  const request = createSettlementContext(context, requestId, variant.model);
  const attempt = new BilledAttempt(request, createGrant(decided, admission, options, reservingSince), {
    countPrompt: isPromptWorthCounting(maximumCost, terms) ? countPrompt : undefined,
    admission: {
      maxTokens: admission.maxTokens,
      changes: variant.changes,
      isKept: canAccountKeepGrant(context, terms, options),
      inUsd: admission.inUsd === true,
      headers: createAdmissionHeaders(variant, admission),
    },
  });
  return { attempt, variant };
}

function createGrant(
  { maximumCost, terms, startedAt }: VariantDecision,
  admission: Admission,
  { later }: AttemptOptions,
  reservingSince: number,
): StoredGrant {
  const budget = captureBudgetAtAdmission(admission);
  return {
    ...createStoredGrant(maximumCost, terms, admission),
    ...(budget && { budget }),
    ...(later && later.earlierCost > 0 && { earlier: later.earlierCost }),
    startedAt,
    waitedMs: Date.now() - reservingSince,
  };
}

function createAdmissionHeaders({ originalModel }: RequestVariant, admission: Admission): Record<string, string> {
  return {
    ...createQuotaHeaders(admission.quota),
    ...createLoweredLimitHeaders(admission),
    ...(originalModel === undefined ? {} : { 'sluice-fallback-from': originalModel }),
  };
}

/** Asks the account to admit one variant of a request. It may wait for budget that other requests hold. */
async function askAccount(
  context: BillingContext,
  asked: RequestVariant,
  options: AttemptOptions,
): Promise<VariantDecision> {
  const { requestId, later } = options;
  const { settings, routing, upstream } = context;
  const { model, leavesOutThinking = false } = asked;
  let variant = asked;
  // Read the clock before asking the account, so that the attempt does not start later than its hold.
  const startedAt = Date.now();
  const until = startedAt + (later?.canWait === false || context.waits === false ? 0 : settings.HOLD_WAIT_MS);
  const models = getHoldPrices(context, model);
  const { row, isListed } = models.findPriceRow(model);
  const admissionRequest = {
    ...createAdmissionRequest({ ...context, requestId, model }),
    model: (isListed ? row.id : model).slice(0, MAX_MODEL_NAME_CHARACTERS),
    repeats: later !== undefined,
    newBytes: context.newBytes,
    costLimit: context.costLimit,
    ...(later?.earlierCost ? { earlier: later.earlierCost } : {}),
  };
  let counted: PromptCount | undefined =
    asked.count === undefined ? undefined : { tokens: asked.count, leavesOutThinking };
  let { maximumCost, terms } = computeMaximumCostAndTerms(context, variant, models, counted);
  if (maximumCost.countable && !canAnyUpstreamCountTokens({ settings, upstream, model })) {
    counted = { tokens: null, leavesOutThinking };
    ({ maximumCost, terms } = computeMaximumCostAndTerms(context, variant, models, counted));
  }
  let isCounted = false;
  const askOnce = async () => {
    variant = withLimitableTools(context, variant, maximumCost);
    const keep = canAccountKeepGrant(context, terms, options)
      ? { keep: serializeUnadmittedGrant(maximumCost, terms, startedAt) }
      : {};
    const size = isCounted ? { counted: true, bound: { ...maximumCost, countable: false } } : { bound: maximumCost };
    const uses = { leastUses: getMinToolUses(variant, maximumCost), lowered: variant.lowered };
    const request = { ...context, requestId, model };
    return await settleIfAdmissionLost(
      context,
      variant,
      options,
      async () => await waitForAdmission(request, { ...admissionRequest, ...size, ...uses, ...keep }, until),
    );
  };
  let decision = await askOnce();
  // The loop ends: the prompt is counted only once, and each lowered number of tool uses is less than the one before.
  while (decision.outcome === 'count_needed' || decision.outcome === 'fewer_uses') {
    if (decision.outcome === 'fewer_uses') variant = limitToolUses(variant, decision);
    else {
      const { signal } = context;
      const target = { ...context, body: variant.body, model, only: routing?.only, signal };
      counted = { tokens: await countInputTokensAtUpstream(target, variant.changes), leavesOutThinking: true };
      isCounted = true;
    }
    ({ maximumCost, terms } = computeMaximumCostAndTerms(context, variant, models, counted));
    decision = await askOnce();
  }
  if (decision.outcome === 'refused' && counted?.tokens === null) decision.refusal.uncounted = true;
  if (decision.outcome === 'admitted' || decision.outcome === 'refused')
    variant = { ...variant, fallbacks: variant.fallbacks ?? decision.fallbacks };
  return { variant, decision, maximumCost, terms, startedAt };
}

/**
 * Runs `admit`. If the account's answer was lost, it also settles the attempt, because the account may have placed the hold.
 * Nothing is sent, so the attempt costs 0.
 */
async function settleIfAdmissionLost<T>(
  context: BillingContext,
  { model }: RequestVariant,
  { requestId }: AttemptOptions,
  admit: () => Promise<T>,
): Promise<T> {
  // Take the time before asking the account. If the account is erased before the settlement arrives, the earlier time makes the
  // account treat the settlement as erased.
  const startedAt = Date.now();
  try {
    return await admit();
  } catch (thrown) {
    if (thrown instanceof ObjectUnreachableError && thrown.mayHaveRun) {
      const unsent = createUnsentSettlement({ ...context, requestId, model }, 'account_unreachable', startedAt);
      context.waitUntil(sendSettlement(context, JSON.stringify(unsent)));
    }
    throw thrown;
  }
}

/** @returns the part of a request that an attempt keeps until it is settled: neither its body nor its signal */
export function createSettlementContext(context: BillingContext, requestId: string, model: string) {
  const { identity, accounts, settings, upstream, conversation, holdMs } = context;
  const waitUntil = (work: Promise<unknown>) => context.waitUntil(work);
  return { requestId, model, identity, accounts, settings, upstream, conversation, holdMs, waitUntil };
}

/**
 * @returns whether the account stores the grant. With tools of the API, or several upstreams, the process that ends the turn
 *   after a crash must know the grant at once; and a later attempt is stored before its account is asked
 */
function canAccountKeepGrant(
  { keeps = false, upstream }: BillingContext,
  { served }: SettlementTerms,
  { later }: AttemptOptions,
): boolean {
  return keeps && !later && !upstream.pool && !served;
}

/**
 * Admits a token count, which costs nothing but has its own limit.
 *
 * @returns headers for the response
 * @throws ApiError as `reserveAttempt`
 */
export async function admitTokenCount(
  request: Omit<BillingContext, 'upstream' | 'headers'> & { model: string },
): Promise<Record<string, string>> {
  const decision = await requestAdmissionAndListAccount(request, createAdmissionRequest(request));
  return createQuotaHeaders(requireAdmittedDecision(decision, request.settings.models).quota);
}

/** @returns the number of an attempt, from its id in the ledger. The id of the first attempt has no number; it is 1. */
export function parseAttemptNumber(requestId: string): number {
  return Number(/\.(\d+)$/.exec(requestId)?.[1] ?? 1);
}

/** @returns the id of a later attempt in the ledger: the request's id, followed by the number of the attempt. */
export function createAttemptId(requestId: string, number: number): string {
  return `${requestId.replace(/\.\d+$/, '')}.${number}`;
}
