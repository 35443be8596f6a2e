/** Settles an admitted request: by the usage that the upstream has reported, or by an upper bound. */

import type { RequestOutcome } from '../../claude/outcome.ts';
import { toCount } from '../../claude/pricing/cost.ts';
import type { MaximumCost, SettlementTerms } from '../../claude/pricing/hold-terms.ts';
import { openUpstreams } from '../../claude/providers/entry.ts';
import { keyHealths, type Upstream } from '../../claude/upstream.ts';
import { recordCaches } from '../../claude/upstreams/pool.ts';
import { getCancelStops, getPrices, isClaudeApiAt } from '../../claude/upstreams/prices.ts';
import { responseStatisticsOf } from '../../claude/usage/response-statistics.ts';
import { speedsOf } from '../../claude/usage/writing-speeds.ts';
import type { Settings } from '../../config/settings.ts';
import { contribution } from '../../kit/plugins/plugins.ts';
import { ABANDONED_STAGE } from '../budget/state.ts';
import type { AdmissionDecision } from '../contracts/admission.ts';
import { callAccount, sendSettlement } from '../contracts/call-account.ts';
import type { Settlement } from '../contracts/settlement.ts';
import { budgetAfter } from './budget-left.ts';
import type { LearnedRates } from './interrupted-cost.ts';
import type { MeteredRequest, RequestMeter } from './metered-request.ts';
import { type StoredGrant, settlementOf, UNKNOWN_GRANT } from './price-outcome.ts';

/** @returns the meter of an admitted request. It works even in another process than the admission. */
export function createSettler(
  request: MeteredRequest,
  grant: StoredGrant,
): Pick<RequestMeter, 'settle' | 'renew' | 'abandon'> {
  const { requestId, model, settings, holdMs } = request;
  const toSettlement = (outcome: RequestOutcome, extra: Partial<Settlement> = {}, isLast = true): Settlement => {
    const { startedAt } = grant;
    const { upstream } = outcome;
    const place = { models: getPrices(settings, upstream), isClaudeApi: isClaudeApiAt(settings, upstream) };
    if (isLast) learnFromOutcome(request, outcome, grant);
    const learned = learnedOf(request, outcome);
    const inForce = withLearnedSpeed(request, outcome, grantForUpstream(settings, outcome, grant));
    return { ...settlementOf({ requestId, model, ...place, learned }, outcome, inForce), startedAt, ...extra };
  };
  // JSON writes NaN as null, which means an unknown cost to the account.
  const send = (settlement: Settlement) => sendSettlement(request, JSON.stringify(settlement));
  const renew = (stage?: string) => callAccount(request, (account) => account.renew(requestId, stage, holdMs));
  return {
    settle: (outcome, extra, later) => {
      // What is read on tells more.
      const settlement = toSettlement(outcome, extra, later === undefined);
      const { cost, tokens } = settlement;
      if (request.upstream) alertOnKeyChange(request, request.upstream);
      noteCached(request, outcome);
      const booking = {
        nanodollars: cost + (grant.earlier ?? 0),
        outputTokens: tokens?.output,
        budget: budgetAfter(grant.budget, cost),
      };
      if (!later) return { ...booking, done: send(settlement) };
      const priced = later.then((end) => toSettlement(end, extra));
      return { ...booking, done: priced.then(send), late: priced.then((end) => end.tokens?.output) };
    },
    renew,
    abandon: async () => {
      // Without it the request counts as running until it is settled.
      await renew(ABANDONED_STAGE).catch(() => false);
    },
  };
}

/** @returns whether a try may have run of which not even the headers have come */
export function hasEndedBeforeHeaders({ sent, status, usage, end }: RequestOutcome): boolean {
  return sent && status === undefined && usage === undefined && end !== 'error';
}

/**
 * Makes a meter settle an answer of which nothing has come by a count of its prompt. Until the count is there, the cost is that of the
 * prompt's bytes.
 *
 * @param count returns the most tokens of the prompt; undefined if it is not counted
 */
export function withCountOf(
  meter: Pick<RequestMeter, 'settle'>,
  count: () => Promise<number | undefined>,
): Pick<RequestMeter, 'settle'> {
  const isUncounted = (outcome: RequestOutcome) =>
    hasEndedBeforeHeaders(outcome) && outcome.prompt_tokens === undefined;
  const counted = async (outcome: RequestOutcome): Promise<RequestOutcome> =>
    isUncounted(outcome) ? { ...outcome, prompt_tokens: await count() } : outcome;
  return {
    settle: (outcome, extra, later) => {
      if (later) return meter.settle(outcome, extra, later.then(counted));
      return meter.settle(outcome, extra, isUncounted(outcome) ? counted(outcome) : undefined);
    },
  };
}

/** Notes where the prompt of a request without a conversation is cached now. The turns of a conversation say it themselves. */
function noteCached({ upstream, conversation, identity, model }: MeteredRequest, outcome: RequestOutcome): void {
  const { upstream: name, usage } = outcome;
  if (!upstream?.pool || conversation !== undefined || name === undefined || !usage) return;
  recordCaches(upstream.pool, { account: identity.account, model }, { name, usage, at: Date.now() });
}

type AlertContext = Pick<MeteredRequest, 'accounts' | 'settings' | 'waitUntil'>;

/** Has the operator told when an upstream begins to refuse its key, and when it answers again. */
export function alertOnKeyChange(place: AlertContext, upstream: Upstream): void {
  if (!place.accounts.POOL) return;
  for (const [name, key] of keyHealths(upstream)) {
    if (!key.hasChange) continue;
    const all = contribution('allAccounts');
    if (all) place.waitUntil?.(key.reportChange((news) => all.reportKeyChange(place, news, name)));
  }
}

type Granted = 'hold' | 'maxTokens' | 'loweredBy';

/** @returns the part of an admission that must be stored, so that the request can be settled later. */
export function createGrant(
  worstCase: MaximumCost,
  terms: SettlementTerms,
  { hold, maxTokens, loweredBy }: Pick<Extract<AdmissionDecision, { outcome: 'admitted' }>, Granted>,
): StoredGrant {
  const isOne = terms.steps === 'one' && worstCase.models.length === 1;
  return {
    hold,
    lowered: maxTokens,
    ...(loweredBy && { loweredBy }),
    mostOutput: isOne ? (maxTokens ?? worstCase.outputTokens) : undefined,
    models: worstCase.models,
    cancelStops: terms.streams,
    terms,
  };
}

/** @returns the grant of a request that is not admitted yet, as its account keeps it */
export function serializeGrant(worstCase: MaximumCost, terms: SettlementTerms, startedAt: number): string {
  return JSON.stringify({ ...createGrant(worstCase, terms, UNKNOWN_GRANT), startedAt });
}

/** Makes the meter of a request whose grant only its account may have. The cost is known once the account has been asked. */
export function createStoredSettler(request: MeteredRequest): Pick<RequestMeter, 'settle'> {
  return {
    settle: (outcome, extra, later) => {
      // What never went up costs nothing, whatever was granted.
      const asking = outcome.sent ? fetchStoredGrant(request) : Promise.resolve(UNKNOWN_GRANT);
      const done = asking.then((grant) => createSettler(request, grant).settle(outcome, extra, later).done);
      return { nanodollars: Number.NaN, outputTokens: undefined, budget: undefined, done };
    },
  };
}

async function fetchStoredGrant(request: MeteredRequest): Promise<StoredGrant> {
  const record = await callAccount(request, (account) => account.storedHold(request.requestId));
  if (!record) return UNKNOWN_GRANT;
  const { hold, maxTokens } = record;
  const grant = JSON.parse(record.keep) as StoredGrant;
  return { ...grant, hold, ...(grant.mostOutput !== undefined && { mostOutput: maxTokens }) };
}

/**
 * @returns the grant for a request that ran at an upstream. Upstreams differ in whether they stop when the connection
 * closes, and what rides stops as a stream does.
 */
function grantForUpstream(
  settings: Settings,
  { upstream, streamInternally = false }: RequestOutcome,
  grant: StoredGrant,
): StoredGrant {
  const stops = getCancelStops(settings, upstream);
  const streams = streamInternally || (grant.cancelStops ?? true);
  return { ...grant, cancelStops: stops === 'always' || (stops === 'streams' && streams) };
}

/** Notes what an answer shows of its model and its tools. */
function learnFromOutcome(request: MeteredRequest, outcome: RequestOutcome, { terms }: StoredGrant): void {
  const answers = responseStatisticsOf(request.settings);
  const { completed, seen, fallbacks = [], after_first_ms = 0, results, usage, signed } = outcome;
  // An answer that was stopped might have been handed over for as long as it was seen.
  if (terms?.fallbacks && (completed || seen))
    answers.recordHandovers(keyOfModel(request, outcome), after_first_ms / 1_000, fallbacks.length / 2);
  if (results) answers.recordResults(results);
  const thinking = toCount(usage?.output_tokens_details?.thinking_tokens);
  if (completed && signed && thinking > 0) answers.recordThinking(keyOfModel(request, outcome), thinking, signed);
}

/** @returns what other answers have shown of the model and of tools */
function learnedOf(request: MeteredRequest, outcome: RequestOutcome): LearnedRates {
  const answers = responseStatisticsOf(request.settings);
  return {
    handOversPerSecond: answers.handoversPerSecond(keyOfModel(request, outcome)),
    longestResult: (tool) => answers.longestResultOf(tool),
  };
}

/** @returns the most tokens of kept thinking for a character of its signature, at whichever upstream; undefined if that is not known */
export function thinkingShareOf({ settings, model }: Pick<MeteredRequest, 'settings' | 'model'>): number | undefined {
  const answers = responseStatisticsOf(settings);
  const names = settings.UPSTREAMS.length > 0 ? openUpstreams(settings).map(({ name }) => name) : [undefined];
  const shares = names.map((upstream) => answers.thinkingShare(keyOfModel({ settings, model }, { upstream })));
  return Math.max(...shares.map((share) => share ?? Number.POSITIVE_INFINITY));
}

/** @returns a name of the requested model at the upstream that has answered */
function keyOfModel(
  { settings, model }: Pick<MeteredRequest, 'settings' | 'model'>,
  { upstream = '' }: Pick<RequestOutcome, 'upstream'>,
): string {
  return `${settings.models.find(model)?.id ?? model}\n${upstream}`;
}

/** Notes how fast an answer was that has ended. @returns the grant of one that has not, with what was learned of others */
function withLearnedSpeed(request: MeteredRequest, outcome: RequestOutcome, grant: StoredGrant): StoredGrant {
  const { settings, model, identity } = request;
  const { terms, models } = grant;
  const now = Date.now();
  const keyOf = (isFast: boolean) => {
    const name = outcome.model ?? model;
    const speed = isFast ? 'fast' : 'standard';
    return `${settings.models.find(name)?.id ?? name}\n${outcome.upstream ?? ''}\n${speed}`;
  };
  const { written, usage } = outcome;
  if (written) speedsOf(settings).record(keyOf(usage?.speed === 'fast'), identity.account, written, now);
  // What several models write is bounded by the fastest one that may.
  if (outcome.completed || !terms || terms.advisor || models?.length !== 1) return grant;
  const tokensPerSecond = speedsOf(settings).most(keyOf(terms.isFast), terms.tokensPerSecond, now);
  return { ...grant, terms: { ...terms, tokensPerSecond } };
}
