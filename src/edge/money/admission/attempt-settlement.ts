/** Prices the attempts of requests: by the usage that the upstream has reported, or by an upper bound. */

import type { RequestOutcome } from '../../claude/outcome.ts';
import { toValidCountOrZero } from '../../claude/pricing/cost.ts';
import type { MaximumCost, SettlementTerms } from '../../claude/pricing/hold-terms.ts';
import { createConfiguredUpstreams } from '../../claude/providers/entry.ts';
import { listKeyHealths, type Upstream } from '../../claude/upstream.ts';
import { recordCaches } from '../../claude/upstreams/pool.ts';
import { getCancelStopsSetting, getModelTableOfUpstream, isUpstreamClaudeApi } from '../../claude/upstreams/prices.ts';
import { getResponseStatistics } from '../../claude/usage/response-statistics.ts';
import { getModelWritingSpeeds } from '../../claude/usage/writing-speeds.ts';
import type { Settings } from '../../config/settings.ts';
import { getSinglePluginMember } from '../../kit/plugins/plugins.ts';
import type { AdmissionDecision } from '../contracts/admission.ts';
import type { Settlement } from '../contracts/settlement.ts';
import type { LearnedModelRates } from './interrupted-cost.ts';
import { createPricedSettlement, type StoredGrant } from './price-outcome.ts';
import type { RequestToSettle } from './request-to-bill.ts';

/**
 * Prices an outcome of an attempt, and records what the outcome shows of its model, its tools and its upstream.
 *
 * @param isLast whether no other outcome of the attempt follows
 */
export function createAttemptSettlement(
  request: RequestToSettle,
  grant: StoredGrant,
  outcome: RequestOutcome,
  { extra, isLast }: { extra: Partial<Settlement> | undefined; isLast: boolean },
): Settlement {
  const { requestId, model, settings } = request;
  const { upstream } = outcome;
  const billing = {
    models: getModelTableOfUpstream(settings, upstream),
    isClaudeApi: isUpstreamClaudeApi(settings, upstream),
  };
  if (isLast) recordLearnedRates(request, outcome, grant);
  const learned = getLearnedRates(request, outcome, grant);
  const adaptedGrant = adaptGrantToUpstream(settings, outcome, grant);
  return {
    ...createPricedSettlement({ requestId, model, ...billing, learned }, outcome, adaptedGrant),
    startedAt: grant.startedAt,
    ...extra,
  };
}

/**
 * Records where the prompt of a request without a conversation is cached now. The turns of a conversation say it themselves.
 */
export function recordCachingUpstream(
  { upstream, conversation, identity, model }: RequestToSettle,
  outcome: RequestOutcome,
): void {
  const { upstream: name, usage } = outcome;
  if (!upstream?.pool || conversation !== undefined || name === undefined || !usage) return;
  recordCaches(upstream.pool, { account: identity.account, model }, { name, usage, at: Date.now() });
}

type KeyAlertContext = Pick<RequestToSettle, 'accounts' | 'settings' | 'waitUntil'>;

/** Alerts the operator when an upstream starts to reject its key, and when the key works again. */
export function raiseAlertOnKeyChange(context: KeyAlertContext, upstream: Upstream): void {
  if (!context.accounts.POOL) return;
  for (const [name, key] of listKeyHealths(upstream)) {
    if (!key.hasChange) continue;
    const all = getSinglePluginMember('allAccounts');
    if (all) context.waitUntil?.(key.reportChangeToOperator((news) => all.alertOnKeyChange(context, news, name)));
  }
}

type AdmissionGrantMember = 'hold' | 'maxTokens' | 'loweredBy';

/** @returns the part of an admission that must be stored, so that the request can be settled later. */
export function createStoredGrant(
  maximumCost: MaximumCost,
  terms: SettlementTerms,
  { hold, maxTokens, loweredBy }: Pick<Extract<AdmissionDecision, { outcome: 'admitted' }>, AdmissionGrantMember>,
): StoredGrant {
  return {
    hold,
    ...(loweredBy && { loweredBy }),
    mostOutput: maxTokens ?? maximumCost.outputTokens,
    models: maximumCost.models,
    // Preliminary: `adaptGrantToUpstream` replaces it once it is known which upstream answered.
    cancelStops: terms.streams,
    terms,
  };
}

/** @returns the grant of a request that is not admitted yet, as its account stores it. With it, the account returns the hold. */
export function serializeUnadmittedGrant(maximumCost: MaximumCost, terms: SettlementTerms, startedAt: number): string {
  return JSON.stringify({ ...createStoredGrant(maximumCost, terms, { hold: Number.NaN }), startedAt });
}

/**
 * @returns the grant for a request that ran at an upstream. Upstreams differ in whether they stop when the connection
 * closes. A response that is streamed internally stops as a stream does.
 */
function adaptGrantToUpstream(
  settings: Settings,
  { upstream, streamInternally = false }: RequestOutcome,
  grant: StoredGrant,
): StoredGrant {
  const stops = getCancelStopsSetting(settings, upstream);
  // The stored grant's `cancelStops` is only whether the response streams. See `createStoredGrant`.
  const streams = streamInternally || (grant.cancelStops ?? true);
  return { ...grant, cancelStops: stops === 'always' || (stops === 'streams' && streams) };
}

/** Records what an answer shows of its model and its tools. */
function recordLearnedRates(request: RequestToSettle, outcome: RequestOutcome, { terms }: StoredGrant): void {
  const statistics = getResponseStatistics(request.settings);
  const { completed, seen, handoverModels = [], after_first_ms = 0, results, usage, signatureLength } = outcome;
  // Learn from a response that was stopped, too: it could have switched to a fallback model during the time in which it was
  // observed.
  if (terms?.fallbacks && (completed || seen))
    statistics.recordHandovers(createModelKey(request, outcome), after_first_ms / 1_000, handoverModels.length / 2);
  if (results) statistics.recordResults(results);
  const thinking = toValidCountOrZero(usage?.output_tokens_details?.thinking_tokens);
  if (completed && signatureLength && thinking > 0)
    statistics.recordThinking(createModelKey(request, outcome), thinking, signatureLength);
  if (outcome.written) {
    const key = createSpeedKey(request, outcome, usage?.speed === 'fast');
    const speeds = getModelWritingSpeeds(request.settings);
    speeds.recordVisibleOutput(key, request.identity.account, outcome.written, Date.now());
  }
}

/** @returns what other answers have shown of the model and of tools */
function getLearnedRates(request: RequestToSettle, outcome: RequestOutcome, { terms }: StoredGrant): LearnedModelRates {
  const statistics = getResponseStatistics(request.settings);
  const speedKey = createSpeedKey(request, outcome, terms?.isFast ?? false);
  return {
    handOversPerSecond: statistics.getModelHandoversPerSecond(createModelKey(request, outcome)),
    tokensPerSecond: getModelWritingSpeeds(request.settings).getMaxTokensPerSecond(speedKey, Date.now()),
    longestResult: (tool) => statistics.getLongestToolResultTokens(tool),
  };
}

/** @returns the most tokens of kept thinking for a character of its signature, at whichever upstream; undefined if that is not known */
export function getMaxThinkingShare({
  settings,
  model,
}: Pick<RequestToSettle, 'settings' | 'model'>): number | undefined {
  const statistics = getResponseStatistics(settings);
  const names =
    settings.UPSTREAMS.length > 0 ? createConfiguredUpstreams(settings).map(({ name }) => name) : [undefined];
  const shares = names.map((upstream) =>
    statistics.getThinkingTokensPerSignatureCharacter(createModelKey({ settings, model }, { upstream })),
  );
  return Math.max(...shares.map((share) => share ?? Number.POSITIVE_INFINITY));
}

/** @returns a name of the requested model at the upstream that has answered */
function createModelKey(
  { settings, model }: Pick<RequestToSettle, 'settings' | 'model'>,
  { upstream = '' }: Pick<RequestOutcome, 'upstream'>,
): string {
  return `${settings.models.findRow(model)?.id ?? model}\n${upstream}`;
}

/** @returns the key under which the writing speed of the answering model is remembered */
function createSpeedKey(
  { settings, model }: Pick<RequestToSettle, 'settings' | 'model'>,
  { model: name = model, upstream = '' }: Pick<RequestOutcome, 'model' | 'upstream'>,
  isFast: boolean,
): string {
  return `${settings.models.findRow(name)?.id ?? name}\n${upstream}\n${isFast ? 'fast' : 'standard'}`;
}
