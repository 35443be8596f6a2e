/** Computes what a request is booked at when its answer has ended: complete, refused, stopped, left or cut. */

import type { Model, ModelTable } from '../../claude/models/models.ts';
import type { RequestOutcome } from '../../claude/outcome.ts';
import {
  computeCost,
  computeSavings,
  hasFallbackUsage,
  type Nanodollars,
  splitCacheWrites,
  type Usage,
} from '../../claude/pricing/cost.ts';
import type { SettlementTerms } from '../../claude/pricing/hold-terms.ts';
import { hasFinalUsage } from '../../claude/usage/reported-usage.ts';
import { createUnobserved, hasObservedOutput, type ObservedPart } from '../../claude/usage/usage-report.ts';
import type { LoweredBy } from '../contracts/lowered-by.schema.ts';
import type { Settlement, TokenUsage } from '../contracts/settlement.ts';
import type { BudgetAtAdmission } from './budget-left.ts';
import { computeInterruptedCost, type LearnedModelRates } from './interrupted-cost.ts';

/** Milliseconds of silence that are usual while one of the API's own tools runs. */
const USUAL_TOOL_MS = 8_000;

/** The part of an admission that settling needs. It is plain JSON, so that it can be stored. */
export interface StoredGrant {
  /** The id of the attempt in the ledger; absent if it is the request's id. */
  requestId?: string | undefined;
  /** When the attempt began, in milliseconds since 1970. If its row is gone, this shows whether the account was erased since. */
  startedAt?: number | undefined;
  /** If there are several upstreams: the name of the one that was tried first. Another one may have responded. */
  upstream?: string | undefined;
  /** Milliseconds that its admission took: for its account, a count, and the budget. Absent where that is not known. */
  waitedMs?: number | undefined;
  /** The cost of the earlier attempts, in nanodollars. */
  earlier?: Nanodollars | undefined;
  /** The hold, in nanodollars; NaN if it is not known here. */
  hold: Nanodollars;
  /** Whose limit has lowered that, or uses. A grant that the account stores does not say it. */
  loweredBy?: LoweredBy;
  /** The caller's own budget; absent if nothing limits it, and in a grant that the account stores. */
  budget?: BudgetAtAdmission;
  /** The most output tokens of one step of the requested model. */
  mostOutput?: number | undefined;
  /** Every model that may be billed, each with all of its names. */
  models?: readonly string[][] | undefined;
  /**
   * Whether the upstream stops writing when the connection is closed. A stored grant has whether the response streams:
   * `adaptGrantToUpstream` combines that with the setting of the upstream that answered.
   */
  cancelStops?: boolean | undefined;
  /** The prices for an interrupted answer; absent if they are not known here. */
  terms?: SettlementTerms | undefined;
}

/** A grant that is not known here. The account settles it at its own figure: the hold, if there is one. */
export const UNKNOWN_GRANT: StoredGrant = { hold: Number.NaN };

/** The request that is settled. */
export interface RequestToPrice {
  requestId: string;
  /** The model as the Claude API names it: an alias is already resolved. */
  model: string;
  models: ModelTable;
  /** Whether the upstream bills as the Claude API does. */
  isClaudeApi: boolean;
  learned: LearnedModelRates;
}

/** The members of a settlement that say what a request has cost. */
type Price = Pick<Settlement, 'cost' | 'saved' | 'tokens' | 'estimated'>;

/**
 * Prices an outcome. If the upstream has reported its final usage, that decides. If not, the price is an upper bound, from
 * what was seen and from the clock. A request that the upstream never worked on costs nothing.
 */
export function createPricedSettlement(
  request: RequestToPrice,
  outcome: RequestOutcome,
  grant: StoredGrant,
): Settlement {
  return {
    requestId: request.requestId,
    status: getLedgerStatus(outcome),
    answeredBy: outcome.model,
    stopReason: outcome.stop_reason ?? undefined,
    errorType: outcome.error_type,
    ...(outcome.error_message !== undefined && { errorMessage: outcome.error_message }),
    upstreamRequestId: outcome.upstream_request_id,
    upstream: outcome.upstream,
    failedUpstreams: listEarlierFailedUpstreams(outcome),
    ttftMs: outcome.ttft_ms,
    waitedMs: grant.waitedMs,
    ...computeStreamTimings(outcome, grant),
    ...priceOutcome(request, outcome, grant),
  };
}

/**
 * Prices an outcome by the first case that applies:
 *
 * 1. The upstream cannot have worked on the request: it is free.
 * 2. The response is a refusal that the Claude API does not bill: it is free, with its tokens.
 * 3. The usage is final: its cost. This is an estimate if the response names an unknown model, or reported too little output.
 * 4. The terms are not known, or a complete response lacks more than the usage of its prompt: the hold.
 * 5. Otherwise an upper bound by what was observed: the response was interrupted, or lacks only the usage of its prompt.
 */
function priceOutcome(request: RequestToPrice, outcome: RequestOutcome, grant: StoredGrant): Price {
  if (!mayHaveCost(outcome)) return { cost: 0 };
  const { usage } = outcome;
  const terms = grant.terms && setCountedPrompt(grant.terms, outcome.prompt_tokens);
  const cacheTtl = terms?.cache === '1h' ? '1h' : '5m';
  if (usage && outcome.unbilled && request.isClaudeApi) return { cost: 0, tokens: countTokensByKind(usage, cacheTtl) };
  const billed = findBilledModels(request, outcome, grant);
  if (usage && hasFinalUsage(outcome)) {
    const estimated = billed.isUnnamed || outcome.raised_output === true;
    return { ...priceFinalUsage(usage, billed, cacheTtl), ...(estimated && { estimated }) };
  }
  const seen = outcome.seen ?? (lacksOnlyPromptUsage(outcome, terms) ? NOTHING_BUT_PROMPT : undefined);
  if (!terms || !seen) return { cost: grant.hold, estimated: true };
  const estimate = computeInterruptedCost(
    {
      usage,
      seen: omitUsualSilence(seen, outcome, terms, request.isClaudeApi),
      handoverModels: billed.handoverModels,
      row: billed.row,
    },
    {
      hold: grant.hold,
      // If a fallback model answered, `max_tokens` of the request does not bound the output: the entry in `fallbacks` can set
      // its own.
      mostOutput: terms.fallbacks && billed.row !== billed.requested ? undefined : grant.mostOutput,
      terms,
      cancelStops: grant.cancelStops ?? true,
      sharesCache: request.isClaudeApi,
      learned: request.learned,
    },
  );
  return {
    cost: estimate.cost,
    saved: computeSavings(estimate.usage, billed.row, { cacheTtl }),
    tokens: countTokensByKind(estimate.usage, cacheTtl),
    estimated: true,
  };
}

/** @returns whether the upstream may have worked on a request */
function mayHaveCost({ sent, end, status, usage, seen }: RequestOutcome): boolean {
  // A stream can begin with status 200 and contain only an error event. Then the model has not run, and the request is free.
  const isOnlyError = end === 'error' && status === 200 && !usage && !hasObservedOutput(seen);
  return sent && !isOnlyError;
}

/** The rows of the price table by which an outcome may be billed. */
interface BilledModels {
  requested: Model;
  /** The model that has answered. */
  row: Model;
  /** The models before and after each switch to a fallback model. */
  handoverModels: Model[];
  /** Whether the response names a model that is not known. */
  isUnnamed: boolean;
  /** The models that an unknown name may refer to. */
  possible: Model[];
  findRow(name: string): Model;
}

function findBilledModels(
  { model, models }: RequestToPrice,
  outcome: RequestOutcome,
  grant: StoredGrant,
): BilledModels {
  const requested = models.findPriceRow(model).row;
  const findRow = (name: string) => models.findRowOfAnsweringModel(name) ?? requested;
  // A gateway may report any name for the model, so an unknown name is priced as the requested model. Only the name of another
  // known model changes the price.
  const isUnnamed =
    outcome.model !== undefined && outcome.model !== model && !models.findRowOfAnsweringModel(outcome.model);
  // An unknown name may be a gateway's name for one of the fallback models, so consider the price of each.
  const possible = isUnnamed
    ? (grant.models ?? []).flatMap(([name = '']) => models.findRowOfAnsweringModel(name) ?? [])
    : [];
  const handoverModels = (outcome.handoverModels ?? []).map(findRow);
  return { requested, row: findRow(outcome.model ?? model), handoverModels, isUnnamed, possible, findRow };
}

/** Prices a final usage: by the most expensive model that may have answered, if the usage does not say which one has. */
function priceFinalUsage(usage: Usage, billed: BilledModels, cacheTtl: '5m' | '1h'): Price {
  const { requested, row, handoverModels, possible, findRow } = billed;
  const options = { priceOf: findRow, asked: requested, cacheTtl } as const;
  const rows = hasFallbackUsage(usage) ? [row] : [row, ...handoverModels, ...possible];
  return {
    cost: Math.max(...rows.map((one) => computeCost(usage, one, options))),
    saved: computeSavings(usage, row, options),
    tokens: countTokensByKind(usage, cacheTtl),
  };
}

/** The observation of a complete response of which only the prompt must be estimated. */
const NOTHING_BUT_PROMPT: ObservedPart = { ...createUnobserved(0), final: true };

/** @returns whether a complete response of one step has reported its output, so that only its prompt has to be estimated */
function lacksOnlyPromptUsage({ completed, usage }: RequestOutcome, terms: SettlementTerms | undefined): boolean {
  return completed && terms?.steps === 'one' && (usage?.output_tokens ?? 0) > 0;
}

/**
 * @returns what was observed of an interrupted response, without a silence in which the model usually writes nothing. Any other
 *   silence is billed by the clock
 */
function omitUsualSilence(
  seen: ObservedPart,
  outcome: RequestOutcome,
  terms: SettlementTerms,
  isClaudeApi: boolean,
): ObservedPart {
  // If the caller stopped the request, the silence before the stop was an ordinary pause. If the connection was cut, it may
  // have been dead during the whole silence while the model went on writing, so count all of it.
  const isAbandoned = outcome.stopped || outcome.end === 'client_gone';
  if (!isAbandoned) return seen;
  if (isClaudeApi && isBeforeFirstEvent(seen, outcome, terms)) return createUnobserved(0);
  const isToolRunning = seen.runs_tool && seen.silent_ms <= USUAL_TOOL_MS;
  // While an advisor writes, the silence is usual: the requesting model waits for it, and no second advisor starts.
  const isAdvisorWriting = seen.is_advising && seen.quiet_ms <= USUAL_TOOL_MS;
  return isToolRunning || isAdvisorWriting ? { ...seen, silent_ms: 0, lost_ms: 0, quiet_ms: 0 } : seen;
}

/** @returns whether a stream has not begun. The API writes nothing before its first event, but a gateway may hold events back. */
function isBeforeFirstEvent(
  seen: ObservedPart,
  { usage, unwatched, streamInternally }: RequestOutcome,
  terms: SettlementTerms,
): boolean {
  const isStream = terms.streams || streamInternally === true;
  return isStream && !usage && !hasObservedOutput(seen) && !terms.compacts && !unwatched;
}

/** @returns the terms with a lower prompt, if the prompt was counted after the admission */
function setCountedPrompt(terms: SettlementTerms, promptTokens = terms.promptTokens): SettlementTerms {
  const counted = Math.max(promptTokens, terms.leastPrompt);
  if (counted >= terms.promptTokens) return terms;
  const promptCost = Math.ceil((terms.promptCost / terms.promptTokens) * counted);
  return { ...terms, promptTokens: counted, promptCost };
}

/** @returns how fast a stream was. Only a stream to the caller has a first event, and a rejection has none. */
function computeStreamTimings(
  { usage, streamInternally, status, ttft_ms, after_first_ms, completed }: RequestOutcome,
  { terms }: StoredGrant,
): Pick<Settlement, 'firstEventMs' | 'afterFirstMs'> {
  if (terms?.streams !== true || streamInternally || status !== 200 || usage === undefined) return {};
  return { firstEventMs: ttft_ms, ...(completed && after_first_ms && { afterFirstMs: after_first_ms }) };
}

/** @returns the failed upstreams, without the one that the row itself records as failed */
function listEarlierFailedUpstreams({
  upstream,
  failed_upstreams,
  error_type,
}: RequestOutcome): readonly string[] | undefined {
  const others = failed_upstreams?.filter((name) => error_type === undefined || name !== upstream) ?? [];
  return others.length > 0 ? others : undefined;
}

function getLedgerStatus({ end, status, sent }: RequestOutcome): string {
  if (end === 'error' && ((status !== undefined && status >= 300) || !sent)) return 'refused_upstream';
  return end === 'cut' && !sent ? 'unreachable' : end;
}

/** @returns tokens by kind, without unused kinds, since every member costs time when it is passed to the object. */
export function countTokensByKind(usage: Usage, cacheTtl: '5m' | '1h'): Partial<TokenUsage> {
  const { fiveMinutes, oneHour } = splitCacheWrites(usage, cacheTtl);
  const tokens: Partial<TokenUsage> = { input: usage.input_tokens ?? 0, output: usage.output_tokens ?? 0 };
  if (usage.cache_read_input_tokens) tokens.cacheRead = usage.cache_read_input_tokens;
  if (fiveMinutes > 0) tokens.cacheWrite5m = fiveMinutes;
  if (oneHour > 0) tokens.cacheWrite1h = oneHour;
  if (usage.output_tokens_details?.thinking_tokens) tokens.thinking = usage.output_tokens_details.thinking_tokens;
  if (usage.server_tool_use?.web_search_requests) tokens.webSearches = usage.server_tool_use.web_search_requests;
  return tokens;
}
