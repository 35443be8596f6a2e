/** Asks the account of a request to admit one attempt and to hold its maximum cost, before the attempt is sent. */

import { canAnyUpstreamCountTokens } from '../../claude/count-tokens.ts';
import { MAX_MODEL_NAME_CHARACTERS, type ModelTable } from '../../claude/models/models.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { MaximumCost, SettlementTerms } from '../../claude/pricing/hold-terms.ts';
import { ObjectUnreachableError } from '../../durable/call-object.ts';
import { ApiError } from '../../kit/http/errors.ts';
import type { AdmissionDecision, AdmissionRequest } from '../contracts/admission.ts';
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

/** The options that differ between the attempts of a request. */
export interface AttemptOptions {
  /** The id of the attempt in the ledger. */
  requestId: string;
  /** Set for a later attempt. */
  later?: {
    /** The cost of the earlier attempts. It counts only against the maximum cost of the request itself. */
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
  // All models of the attempt share the waiting time: the caller waits for one response.
  const waitsUntil = startedAt + getWaitMs(context, options);
  const first = await askAccount(context, variant, options, waitsUntil);
  const admittedFallback = isUnaffordable(first)
    ? await askForFallbackModels(context, first, options, waitsUntil)
    : undefined;
  return await createReservedAttempt(context, admittedFallback ?? first, options, startedAt);
}

/** @returns the milliseconds that an attempt may wait for budget that other requests hold */
function getWaitMs({ waits = true, settings }: BillingContext, { later }: AttemptOptions): number {
  return waits && later?.canWait !== false ? settings.HOLD_WAIT_MS : 0;
}

function isUnaffordable({ decision }: VariantDecision): boolean {
  return decision.outcome === 'refused' && decision.refusal.reason === 'spend';
}

/** @returns the decision about the first fallback model that the account admits; undefined if it admits none */
async function askForFallbackModels(
  context: BillingContext,
  rejected: VariantDecision,
  options: AttemptOptions,
  waitsUntil: number,
): Promise<VariantDecision | undefined> {
  let next = await createFallbackVariant(context, rejected.variant);
  while (next) {
    const decided = await askAccount(context, next, options, waitsUntil);
    if (decided.decision.outcome === 'admitted') return decided;
    next = await createFallbackVariant(context, decided.variant);
  }
  return undefined;
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
  const waitsUntil = startedAt + getWaitMs(context, options);
  let next = await createFallbackVariant(context, variant);
  while (next) {
    try {
      const decided = await askAccount(context, next, options, waitsUntil);
      return await createReservedAttempt(context, decided, options, startedAt);
    } catch (thrown) {
      // A status below 500 is a rejection: the limits do not allow this fallback model, or no upstream serves it. Try the next
      // one.
      if (!(thrown instanceof ApiError) || thrown.status >= 500) throw thrown;
    }
    next = await createFallbackVariant(context, next);
  }
  return undefined;
}

/** A variant of a request, with what it can cost by its bytes or by a count of its prompt. */
interface PricedVariant {
  readonly variant: RequestVariant;
  /** The count; absent if the prompt was not counted. */
  readonly count?: PromptCount | undefined;
  /** Whether the account asked for the count. */
  readonly wasCountNeeded?: boolean | undefined;
  readonly maximumCost: MaximumCost;
  readonly terms: SettlementTerms;
}

/** The decision of an account about one variant of a request. */
interface VariantDecision extends PricedVariant {
  decision: AdmissionDecision;
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
      isGrantStored: shouldAccountStoreGrant(context, terms, options),
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

/**
 * Asks the account to admit one variant of a request. It may wait for budget that other requests hold. If the account replies that
 * a count of the prompt or fewer uses of tools could help, it is asked again with them.
 *
 * @param waitsUntil the end of the waiting time; milliseconds since 1970
 */
async function askAccount(
  context: BillingContext,
  variant: RequestVariant,
  options: AttemptOptions,
  waitsUntil: number,
): Promise<VariantDecision> {
  const { requestId } = options;
  // Read the clock before asking the account, so that the attempt does not start later than its hold.
  const startedAt = Date.now();
  const prices = getHoldPrices(context, variant.model);
  let priced = priceNewVariant(context, prices, variant);
  // The loop ends: the prompt is counted only once, and each lowered number of tool uses is less than the one before.
  for (;;) {
    const asked = createAttemptAdmissionRequest(context, prices, priced, options, startedAt);
    const request = { ...context, requestId, model: variant.model };
    const decision = await settleIfAdmissionLost(
      context,
      variant,
      options,
      async () => await waitForAdmission(request, asked, waitsUntil),
    );
    if (decision.outcome === 'fewer_uses')
      priced = priceVariant(context, prices, { ...priced, variant: limitToolUses(priced.variant, decision) });
    else if (decision.outcome === 'count_needed')
      priced = priceVariant(context, prices, await countPrompt(context, priced.variant));
    else return { ...completeDecision(priced, decision), startedAt };
  }
}

/** Prices a variant before the account is asked about it. A prompt that no upstream can count is marked as such. */
function priceNewVariant(context: BillingContext, prices: ModelTable, variant: RequestVariant): PricedVariant {
  const { settings, upstream } = context;
  const { model, tokenCount: tokens, leavesOutThinking = false } = variant;
  const priced = priceVariant(context, prices, {
    variant,
    count: tokens === undefined ? undefined : { tokens, leavesOutThinking },
  });
  if (!priced.maximumCost.countable || canAnyUpstreamCountTokens({ settings, upstream, model })) return priced;
  return priceVariant(context, prices, { variant, count: { tokens: null, leavesOutThinking } });
}

function priceVariant(
  context: BillingContext,
  prices: ModelTable,
  counted: Pick<PricedVariant, 'variant' | 'count' | 'wasCountNeeded'>,
): PricedVariant {
  const { variant, count, wasCountNeeded } = counted;
  const { maximumCost, terms } = computeMaximumCostAndTerms(context, variant, prices, count);
  return { variant: withLimitableTools(context, variant, maximumCost), count, wasCountNeeded, maximumCost, terms };
}

/** @throws ApiError as `countInputTokensAtUpstream` */
async function countPrompt(
  context: BillingContext,
  variant: RequestVariant,
): Promise<Pick<PricedVariant, 'variant' | 'count' | 'wasCountNeeded'>> {
  const { body, model, changes } = variant;
  const target = { ...context, body, model, requiredUpstream: context.routing?.requiredUpstream };
  const tokens = await countInputTokensAtUpstream(target, changes);
  return { variant, count: { tokens, leavesOutThinking: true }, wasCountNeeded: true };
}

/** Creates what the account is asked about one variant. */
function createAttemptAdmissionRequest(
  context: BillingContext,
  prices: ModelTable,
  { variant, maximumCost, terms, wasCountNeeded }: PricedVariant,
  options: AttemptOptions,
  startedAt: number,
): AdmissionRequest {
  const { requestId, later } = options;
  const { model, loweredBy } = variant;
  const { row, isListed } = prices.findPriceRow(model);
  return {
    ...createAdmissionRequest({ ...context, requestId, model }),
    model: (isListed ? row.id : model).slice(0, MAX_MODEL_NAME_CHARACTERS),
    // The account has asked for the count already: it was made, or no upstream can make it. So the account must not ask again.
    maximumCost: wasCountNeeded ? { ...maximumCost, countable: false } : maximumCost,
    counted: wasCountNeeded,
    repeats: later !== undefined,
    newCharacters: context.newCharacters,
    costLimit: context.costLimit,
    earlier: later?.earlierCost || undefined,
    leastUses: getMinToolUses(variant, maximumCost),
    loweredBy,
    grant: shouldAccountStoreGrant(context, terms, options)
      ? serializeUnadmittedGrant(maximumCost, terms, startedAt)
      : undefined,
  };
}

/** Adds to a final decision what only the asking process knows, and to the variant what the account has replied. */
function completeDecision(priced: PricedVariant, decision: AdmissionDecision): Omit<VariantDecision, 'startedAt'> {
  const { variant, count } = priced;
  if (decision.outcome !== 'admitted' && decision.outcome !== 'refused') return { ...priced, decision };
  if (decision.outcome === 'refused' && count?.tokens === null) decision.refusal.uncounted = true;
  return {
    ...priced,
    decision,
    variant: { ...variant, fallbackModels: variant.fallbackModels ?? decision.fallbackModels },
  };
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
 *   after a crash must know the grant at once; and a later attempt is stored before it is reserved
 */
function shouldAccountStoreGrant(
  { mayAccountStoreGrant = false, upstream }: BillingContext,
  { serverTools }: SettlementTerms,
  { later }: AttemptOptions,
): boolean {
  return mayAccountStoreGrant && !later && !upstream.pool && !serverTools;
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
