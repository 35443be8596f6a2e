/** Settles an admitted request: by the usage that the upstream has reported, or by an upper bound. */

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
import { ABANDONED_STAGE } from '../budget/state.ts';
import type { AdmissionDecision } from '../contracts/admission.ts';
import { callAccount, sendSettlement } from '../contracts/call-account.ts';
import type { Settlement } from '../contracts/settlement.ts';
import { computeRemainingBudget } from './budget-left.ts';
import type { LearnedModelRates } from './interrupted-cost.ts';
import type { RequestMeter, RequestToSettle } from './metered-request.ts';
import { createPricedSettlement, type StoredGrant, UNKNOWN_GRANT } from './price-outcome.ts';

/** @returns the meter of an admitted request. It works even in another process than the admission. */
export function createRequestMeter(
  request: RequestToSettle,
  grant: StoredGrant,
): Pick<RequestMeter, 'settleRequest' | 'renewHold' | 'abandonRequest'> {
  const { requestId, model, settings, holdMs } = request;
  const createSettlement = (outcome: RequestOutcome, extra: Partial<Settlement> = {}, isLast = true): Settlement => {
    const { startedAt } = grant;
    const { upstream } = outcome;
    const place = {
      models: getModelTableOfUpstream(settings, upstream),
      isClaudeApi: isUpstreamClaudeApi(settings, upstream),
    };
    if (isLast) recordLearnedRates(request, outcome, grant);
    const learned = getLearnedRates(request, outcome, grant);
    const inForce = adaptGrantToUpstream(settings, outcome, grant);
    return {
      ...createPricedSettlement({ requestId, model, ...place, learned }, outcome, inForce),
      startedAt,
      ...extra,
    };
  };
  // JSON writes NaN as null, which means an unknown cost to the account.
  const sendToAccount = (settlement: Settlement) => sendSettlement(request, JSON.stringify(settlement));
  const renewHold = (stage?: string) => callAccount(request, (account) => account.renewHold(requestId, stage, holdMs));
  return {
    settleRequest: (outcome, extra, later) => {
      // What is read on tells more.
      const settlement = createSettlement(outcome, extra, later === undefined);
      const { cost, tokens } = settlement;
      if (request.upstream) raiseAlertOnKeyChange(request, request.upstream);
      recordCachingUpstream(request, outcome);
      const booking = {
        nanodollars: cost + (grant.earlier ?? 0),
        outputTokens: tokens?.output,
        budget: computeRemainingBudget(grant.budget, cost),
      };
      if (!later) return { ...booking, done: sendToAccount(settlement) };
      const priced = later.then((end) => createSettlement(end, extra));
      return { ...booking, done: priced.then(sendToAccount), late: priced.then((end) => end.tokens?.output) };
    },
    renewHold,
    abandonRequest: async () => {
      // Without it the request counts as running until it is settled.
      await renewHold(ABANDONED_STAGE).catch(() => false);
    },
  };
}

/** @returns whether a try may have run of which not even the headers have come */
export function mightHaveRunUnseen({ sent, status, usage, end }: RequestOutcome): boolean {
  return sent && status === undefined && usage === undefined && end !== 'error';
}

/**
 * Makes a meter settle an answer of which nothing has come by a count of its prompt. Until the count is there, the cost is that of the
 * prompt's bytes.
 *
 * @param count returns the most tokens of the prompt; undefined if it is not counted
 */
export function createCountingMeter(
  meter: Pick<RequestMeter, 'settleRequest'>,
  count: () => Promise<number | undefined>,
): Pick<RequestMeter, 'settleRequest'> {
  const needsPromptCount = (outcome: RequestOutcome) =>
    mightHaveRunUnseen(outcome) && outcome.prompt_tokens === undefined;
  const addPromptCount = async (outcome: RequestOutcome): Promise<RequestOutcome> =>
    needsPromptCount(outcome) ? { ...outcome, prompt_tokens: await count() } : outcome;
  return {
    settleRequest: (outcome, extra, later) => {
      if (later) return meter.settleRequest(outcome, extra, later.then(addPromptCount));
      return meter.settleRequest(outcome, extra, needsPromptCount(outcome) ? addPromptCount(outcome) : undefined);
    },
  };
}

/** Notes where the prompt of a request without a conversation is cached now. The turns of a conversation say it themselves. */
function recordCachingUpstream(
  { upstream, conversation, identity, model }: RequestToSettle,
  outcome: RequestOutcome,
): void {
  const { upstream: name, usage } = outcome;
  if (!upstream?.pool || conversation !== undefined || name === undefined || !usage) return;
  recordCaches(upstream.pool, { account: identity.account, model }, { name, usage, at: Date.now() });
}

type KeyAlertContext = Pick<RequestToSettle, 'accounts' | 'settings' | 'waitUntil'>;

/** Has the operator told when an upstream begins to refuse its key, and when it answers again. */
export function raiseAlertOnKeyChange(place: KeyAlertContext, upstream: Upstream): void {
  if (!place.accounts.POOL) return;
  for (const [name, key] of listKeyHealths(upstream)) {
    if (!key.hasChange) continue;
    const all = getSinglePluginMember('allAccounts');
    if (all) place.waitUntil?.(key.reportChangeToOperator((news) => all.alertOnKeyChange(place, news, name)));
  }
}

type AdmissionGrantMember = 'hold' | 'maxTokens' | 'loweredBy';

/** @returns the part of an admission that must be stored, so that the request can be settled later. */
export function createStoredGrant(
  worstCase: MaximumCost,
  terms: SettlementTerms,
  { hold, maxTokens, loweredBy }: Pick<Extract<AdmissionDecision, { outcome: 'admitted' }>, AdmissionGrantMember>,
): StoredGrant {
  return {
    hold,
    lowered: maxTokens,
    ...(loweredBy && { loweredBy }),
    mostOutput: maxTokens ?? worstCase.outputTokens,
    models: worstCase.models,
    cancelStops: terms.streams,
    terms,
  };
}

/** @returns the grant of a request that is not admitted yet, as its account keeps it */
export function serializeUnadmittedGrant(worstCase: MaximumCost, terms: SettlementTerms, startedAt: number): string {
  return JSON.stringify({ ...createStoredGrant(worstCase, terms, UNKNOWN_GRANT), startedAt });
}

/** Makes the meter of a request whose grant only its account may have. The cost is known once the account has been asked. */
export function createMeterOfKeptGrant(request: RequestToSettle): Pick<RequestMeter, 'settleRequest'> {
  return {
    settleRequest: (outcome, extra, later) => {
      // What never went up costs nothing, whatever was granted.
      const asking = outcome.sent ? fetchStoredGrant(request) : Promise.resolve(UNKNOWN_GRANT);
      const done = asking.then((grant) => createRequestMeter(request, grant).settleRequest(outcome, extra, later).done);
      return { nanodollars: Number.NaN, outputTokens: undefined, budget: undefined, done };
    },
  };
}

async function fetchStoredGrant(request: RequestToSettle): Promise<StoredGrant> {
  const record = await callAccount(request, (account) => account.getStoredHold(request.requestId));
  if (!record) return UNKNOWN_GRANT;
  const { hold, maxTokens } = record;
  const grant = JSON.parse(record.keep) as StoredGrant;
  return { ...grant, hold, mostOutput: maxTokens };
}

/**
 * @returns the grant for a request that ran at an upstream. Upstreams differ in whether they stop when the connection
 * closes, and what rides stops as a stream does.
 */
function adaptGrantToUpstream(
  settings: Settings,
  { upstream, streamInternally = false }: RequestOutcome,
  grant: StoredGrant,
): StoredGrant {
  const stops = getCancelStopsSetting(settings, upstream);
  const streams = streamInternally || (grant.cancelStops ?? true);
  return { ...grant, cancelStops: stops === 'always' || (stops === 'streams' && streams) };
}

/** Notes what an answer shows of its model and its tools. */
function recordLearnedRates(request: RequestToSettle, outcome: RequestOutcome, { terms }: StoredGrant): void {
  const answers = getResponseStatistics(request.settings);
  const { completed, seen, fallbacks = [], after_first_ms = 0, results, usage, signed } = outcome;
  // An answer that was stopped might have been handed over for as long as it was seen.
  if (terms?.fallbacks && (completed || seen))
    answers.recordHandovers(createModelKey(request, outcome), after_first_ms / 1_000, fallbacks.length / 2);
  if (results) answers.recordResults(results);
  const thinking = toValidCountOrZero(usage?.output_tokens_details?.thinking_tokens);
  if (completed && signed && thinking > 0) answers.recordThinking(createModelKey(request, outcome), thinking, signed);
  if (outcome.written) {
    const key = createSpeedKey(request, outcome, usage?.speed === 'fast');
    const speeds = getModelWritingSpeeds(request.settings);
    speeds.recordVisibleOutput(key, request.identity.account, outcome.written, Date.now());
  }
}

/** @returns what other answers have shown of the model and of tools */
function getLearnedRates(request: RequestToSettle, outcome: RequestOutcome, { terms }: StoredGrant): LearnedModelRates {
  const answers = getResponseStatistics(request.settings);
  const speedKey = createSpeedKey(request, outcome, terms?.isFast ?? false);
  return {
    handOversPerSecond: answers.getModelHandoversPerSecond(createModelKey(request, outcome)),
    tokensPerSecond: getModelWritingSpeeds(request.settings).getMaxTokensPerSecond(speedKey, Date.now()),
    longestResult: (tool) => answers.getLongestToolResultTokens(tool),
  };
}

/** @returns the most tokens of kept thinking for a character of its signature, at whichever upstream; undefined if that is not known */
export function getMaxThinkingShare({
  settings,
  model,
}: Pick<RequestToSettle, 'settings' | 'model'>): number | undefined {
  const answers = getResponseStatistics(settings);
  const names =
    settings.UPSTREAMS.length > 0 ? createConfiguredUpstreams(settings).map(({ name }) => name) : [undefined];
  const shares = names.map((upstream) =>
    answers.getThinkingTokensPerSignatureCharacter(createModelKey({ settings, model }, { upstream })),
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
