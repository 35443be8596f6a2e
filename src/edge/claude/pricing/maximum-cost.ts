/**
 * Computes the most that a request can cost, from its body alone. Its hold has this amount.
 *
 * A token of the API's tokenizers is at least one byte, so text has at most as many tokens as bytes. JSON only makes text
 * longer (quotes, escapes, names), so the bytes of the body are enough, and nothing is encoded or serialized to count them.
 * `prompt-features.ts` finds what costs more, or less, than its bytes.
 */

import { isObject, type JsonObject, toStringOrUndefined } from '../../kit/json/object.ts';
import type { Model, ModelTable } from '../models/models.ts';
import { type Nanodollars, WEB_SEARCH_NANODOLLARS } from './cost.ts';
import {
  findBillableModelRows,
  findHighestPrice,
  findOwnModelRow,
  getMaxOutputTokens,
  listModelNamesForLimits,
} from './highest-price.ts';
import type { MaximumCost, SecondModelPrices, ServerToolsMaximumCost, SettlementTerms } from './hold-terms.ts';
import { computeMinTokensForText } from './minimal-thinking.ts';
import {
  addModels,
  extendCacheLifetime,
  findFeaturesOfBody,
  MAX_ADVISORS,
  NO_FEATURES,
  type PromptFeatures,
  TOKENS_PER_IMAGE,
  toWholeNumber,
  UNLIMITED_USES,
} from './prompt-features.ts';
import { findModelsInRepeatedKeys, toFallbackObject } from './referenced-models.ts';

export interface MaximumCostOptions {
  /** UTF-8 bytes of the body as it goes up, or more. For a merged body it is the sum of its parts. */
  bytes: number;
  models: ModelTable;
  /** The part of the body that may repeat keys, as text and parsed; absent if no key is repeated. */
  readings?: { text: string; json: JsonObject } | undefined;
  /** Returns the length of a string of the body. Needed if strings stand for longer ones. */
  lengthOf?: ((value: string) => number) | undefined;
  /** The model's name as the caller wrote it. Limits may allow it by that name too. */
  asked?: string;
  /** Names in the header `anthropic-beta`. */
  betas?: readonly string[];
  /** Input tokens, from count_tokens or the turn before; null if the upstream does not count them, absent if nobody has asked. */
  count?: number | null;
  /** Whether the count is that of count_tokens, which leaves out what earlier answers have thought. */
  leavesOutThinking?: boolean;
  /** The most tokens of kept thinking for a character of its signature, as answers have shown. Default: as base64 can have. */
  thinkingShare?: number | undefined;
  /** The features of the messages before those of the body: a conversation's history. */
  before?: PromptFeatures;
  /** Whether the request is an item of a batch: half price on tokens. */
  batch?: boolean;
}

/** Tokens that the API adds to every request, at the most. */
const TOKENS_PER_REQUEST = 256;
/** Two limits that are higher than any budget pays for. Below them every sum is an exact integer. */
const MAX_STEPS = 1_000;
const MAX_HOLD: Nanodollars = 1e15;
/** The input tokens from which the API summarizes the prompt, unless the request gives another number. */
const COMPACTION_TRIGGER = 150_000;
/** How many tokens one use of a tool of the API adds to the prompt, by estimate. Searches usually add less. */
const SERVED_STEP_TOKENS = 25_000;
/** A prompt is not counted if it is less than this part (a fourth) of what the steps of a loop read by estimate. */
const MIN_COUNTED_SHARE = 4;
/** The bytes of a prompt for which a count must have a token. No text is so dense: a lower count is none of its tokens. */
const MAX_BYTES_PER_TOKEN = 16;
/** The bytes for each character of base64. A token has at least one. */
const BYTES_PER_BASE64_CHARACTER = 0.75;
/** Tokens of a call beside its result, by estimate. */
const CALL_OVERHEAD_TOKENS = 1_000;

/**
 * Computes the most that a request can cost.
 *
 * @param body a Messages body as it goes up, with the upstream's names of models. Only that its `messages` is a list is
 *   assumed.
 */
export function computeMaximumCost(
  body: JsonObject,
  options: MaximumCostOptions,
): { maximumCost: MaximumCost; terms: SettlementTerms } {
  const { readings } = options;
  const found = findFeaturesOfBody(body, options.before, options.lengthOf);
  const { thinkingShare = BYTES_PER_BASE64_CHARACTER } = options;
  const kept = Math.ceil(found.signed * Math.min(BYTES_PER_BASE64_CHARACTER, thinkingShare));
  found.extra += TOKENS_PER_REQUEST - (found.signed - kept);
  found.thought += kept;
  if (readings) addModels(findModelsInRepeatedKeys(readings.text, readings.json), found);
  // How often the API may call tools of its own.
  const uses = found.served.uses + (found.served.unlimited ? UNLIMITED_USES - 1 : 0);
  const steps = Math.min(MAX_STEPS, uses + 1);
  // Where nothing limits the uses, the API ends after so many steps; an estimate counts one for each use.
  const estimatedSteps = steps + Number(found.served.unlimited > 0);
  const geography = body.inference_geo === 'global' ? 10 : 11;
  const wide = options.betas?.some((beta) => beta.startsWith('context-1m')) ?? false;
  const wanted = toWholeNumber(body.max_tokens);

  const worstCase: MaximumCost = {
    inputTokens: 0,
    inputCost: 0,
    outputTokens: 0,
    outputPrice: 0,
    leastOutput: 0,
    bounded: true,
    countable: found.by !== 'window' && !found.served.hidden && options.count === undefined,
    known: true,
    models: [],
  };
  const served: ServerToolsMaximumCost = {
    tool: found.served.name,
    single: found.served.tools === 1 && found.served.unlimited === found.served.lackMaxUses,
    lacksMaxUses: found.served.lackMaxUses > 0,
    ...computeLeastServerToolUses(found.served),
    uses,
    inputTokens: 0,
    inputCost: 0,
    useCost: 0,
    estimatedUseCost: 0,
    useOutputPrice: 0,
  };
  const terms: SettlementTerms = {
    promptTokens: 0,
    promptCost: 0,
    leastPrompt: estimateMinimumPromptTokens(found, options.bytes),
    inputPrice: 0,
    outputPrice: 0,
    tokensPerSecond: 0,
    isFast: false,
    cache: found.cache,
    steps: steps > 1 ? 'several' : 'one',
    compacts: false,
    streams: body.stream === true,
  };
  for (const attempt of listModelAttempts(body)) {
    const rows = findBillableModelRows(options.models, attempt.model);
    const window = Math.max(...rows.map((row) => row.max_input_tokens), wide ? 1_000_000 : 0);
    const ofPrompt = computePromptTokenUpperBound(found, window, options);
    const { hidden, growth, result } = found.served;
    const first = hidden ? { tokens: window, bounded: false } : ofPrompt;
    const firstEstimated = hidden ? Math.min(window, ofPrompt.tokens + SERVED_STEP_TOKENS) : ofPrompt.tokens;
    const output = wanted ?? getMaxOutputTokens(rows);
    const later = steps > 1 ? Math.min(window, first.tokens + growth + (steps - 1) * output) : 0;
    const added = Number.isFinite(result) ? result + CALL_OVERHEAD_TOKENS : SERVED_STEP_TOKENS;
    const price = findHighestPrice(rows, Math.max(first.tokens, later), attempt.isFastMode, found.cache, geography);
    const own = attempt.maxTokens;
    const searches = found.searches * WEB_SEARCH_NANODOLLARS;
    const compacting = canApiCompactPrompt(body, Math.max(first.tokens, later), steps);
    const inputExact = first.tokens + later * (steps - 1);
    const inputEstimated = Math.min(inputExact, sumTokensReadBySteps(firstEstimated, added, estimatedSteps, window));
    const computeCostOfTokens = (tokens: number) => {
      const beside = compacting ? tokens * price.input + getMaxOutputTokens(rows) * price.output * steps : 0;
      return tokens * price.input + searches + beside;
    };
    const ownOutput = own === undefined ? 0 : Math.min(own, window) * price.output * steps;
    worstCase.countable &&= ofPrompt.tokens * estimatedSteps * MIN_COUNTED_SHARE >= inputEstimated;
    worstCase.inputTokens += inputExact * (compacting ? 2 : 1);
    worstCase.inputCost += computeCostOfTokens(inputExact) + ownOutput;
    served.inputTokens += inputEstimated * (compacting ? 2 : 1);
    served.inputCost += computeCostOfTokens(inputEstimated) + ownOutput;
    const perSearch = searches / Math.max(1, uses);
    served.useCost += later * price.input + perSearch;
    // Later uses cost more than the mean, so what this says would fit does.
    served.estimatedUseCost += ((inputEstimated - firstEstimated) / Math.max(1, uses)) * price.input + perSearch;
    if (own === undefined) {
      worstCase.outputPrice += price.output * steps;
      served.useOutputPrice += price.output;
    }
    terms.compacts ||= compacting;
    if (worstCase.models.length === 0) worstCase.outputTokens = Math.min(output, window);
    // A model that the API chooses itself has no name. It is priced as the dearest.
    if (attempt.model !== undefined) worstCase.known &&= findOwnModelRow(options.models, attempt.model) !== undefined;
    worstCase.leastOutput = Math.max(worstCase.leastOutput, attempt.thinkingBudget + 1);
    const useful = computeMinTokensForText(findOwnModelRow(options.models, attempt.model), attempt.asked);
    worstCase.usefulOutput = Math.max(worstCase.usefulOutput ?? 0, useful);
    worstCase.bounded &&= first.bounded && (steps === 1 || growth !== Number.POSITIVE_INFINITY);
    const alias = worstCase.models.length === 0 ? options.asked : undefined;
    worstCase.models.push(listModelNamesForLimits(options.models, attempt.model, alias));
    if (found.served.tools > 0) {
      const { window: widest = 0 } = terms.served ?? {};
      terms.served = {
        uses,
        searches: found.searches,
        window: Math.max(widest, window),
        ...(Number.isFinite(result) && { mostResult: result }),
      };
    }
    const isFallback = worstCase.models.length > 1;
    raiseSettlementTerms(terms, rows, attempt, first.tokens, {
      hold: geography,
      asked: body.inference_geo === 'us' ? 11 : 10,
    });
    if (isFallback)
      terms.fallbacks = addSecondModel(
        terms.fallbacks,
        findHighestPrice(rows, window, attempt.isFastMode, found.cache, 10),
        1,
      );
  }
  if (found.advisors.length > MAX_ADVISORS) {
    worstCase.inputCost = Number.POSITIVE_INFINITY;
    served.inputCost = Number.POSITIVE_INFINITY;
  }
  for (const advisor of found.advisors.slice(0, MAX_ADVISORS))
    addAdvisorMaximumCost({ worstCase: worstCase, served, terms }, advisor, options, geography);
  if (options.batch)
    applyBatchDiscount(worstCase, served, found.searches * WEB_SEARCH_NANODOLLARS * worstCase.models.length);
  if (!(worstCase.inputCost <= MAX_HOLD)) worstCase.inputCost = MAX_HOLD;
  if (!(served.inputCost <= MAX_HOLD)) served.inputCost = MAX_HOLD;
  if (!(worstCase.outputPrice * worstCase.outputTokens <= MAX_HOLD)) worstCase.outputPrice = MAX_HOLD;
  if (found.served.tools > 0) worstCase.served = served;
  if (found.by === 'count' && options.count === null) found.because = 'a block that the upstream cannot count';
  if (found.because !== undefined && found.by !== 'bytes') worstCase.because = found.because;
  return { maximumCost: worstCase, terms };
}

/** @returns to how many uses `max_uses` can limit the tools that lack it, where only these are unlimited */
function computeLeastServerToolUses({
  uses,
  unlimited,
  lackMaxUses,
}: PromptFeatures['served']): Pick<ServerToolsMaximumCost, 'leastUses'> {
  return lackMaxUses > 0 && lackMaxUses === unlimited ? { leastUses: uses + lackMaxUses } : {};
}

/** Takes half of what tokens cost; searches have no half price. */
function applyBatchDiscount(worstCase: MaximumCost, served: ServerToolsMaximumCost, searches: Nanodollars): void {
  const halveTokenCost = (cost: Nanodollars) => Math.ceil(Math.max(0, cost - searches) / 2) + Math.min(cost, searches);
  worstCase.inputCost = halveTokenCost(worstCase.inputCost);
  worstCase.outputPrice = Math.ceil(worstCase.outputPrice / 2);
  served.inputCost = halveTokenCost(served.inputCost);
}

/** @returns the most tokens of the first prompt, before the API's own tools have added to it. */
function computePromptTokenUpperBound(
  features: PromptFeatures,
  window: number,
  { bytes, count, leavesOutThinking = false }: MaximumCostOptions,
): { tokens: number; bounded: boolean } {
  const byBytes = features.by === 'bytes' ? Math.min(window, bytes + features.extra) : window;
  if (count === undefined || count === null || features.changes)
    return { tokens: byBytes, bounded: features.by === 'bytes' };
  // count_tokens only estimates. It is wrong by at most two percent, or by a few dozen tokens on short prompts.
  const margin = Math.max(64, Math.ceil(count * 0.02)) + features.linkedImages * TOKENS_PER_IMAGE;
  const thought = leavesOutThinking ? features.thought : 0;
  const tokens = Math.max(count + margin + thought, estimateMinimumPromptTokens(features, bytes));
  return { tokens: Math.min(byBytes, tokens), bounded: true };
}

/** @returns the least tokens of the first prompt. Of a file, and of what a model may leave out of it, the bytes do not tell */
function estimateMinimumPromptTokens({ by, encoded, thought }: PromptFeatures, bytes: number): number {
  return by === 'bytes' ? Math.floor(Math.max(0, bytes - encoded - thought) / MAX_BYTES_PER_TOKEN) : 0;
}

/** @returns the tokens that steps read together, of which each reads so many more than the one before, up to the window */
function sumTokensReadBySteps(first: number, added: number, steps: number, window: number): number {
  const grown = Math.min(steps, Math.floor((window - first) / added) + 1);
  return grown * first + (added * grown * (grown - 1)) / 2 + (steps - grown) * window;
}

/** Raises the terms to an attempt's prices, because nobody knows beforehand which attempt will answer. */
function raiseSettlementTerms(
  terms: SettlementTerms,
  rows: readonly Model[],
  { isFastMode: fast }: ModelAttempt,
  promptTokens: number,
  geography: { hold: number; asked: number },
): void {
  const price = findHighestPrice(rows, promptTokens, fast, terms.cache, 10);
  const hold = findHighestPrice(rows, promptTokens, fast, terms.cache, geography.hold);
  // A geography that only the workspace sets is not counted here. The tokens per second are high enough to cover it.
  const dearestPrice = findHighestPrice(rows, promptTokens, fast, terms.cache, geography.asked);
  const rates = rows.map((row) => (fast ? row.fast_tokens_per_second : row.tokens_per_second));
  terms.promptTokens = Math.max(terms.promptTokens, promptTokens);
  terms.promptCost = Math.min(MAX_HOLD, Math.max(terms.promptCost, promptTokens * hold.input));
  terms.inputPrice = Math.max(terms.inputPrice, price.input);
  terms.outputPrice = Math.max(terms.outputPrice, dearestPrice.output);
  terms.tokensPerSecond = Math.max(terms.tokensPerSecond, ...rates);
  terms.isFast ||= fast;
}

/** An attempt to answer by one model: the model that was asked for, or a fallback that steps in for it. */
interface ModelAttempt {
  model: unknown;
  isFastMode: boolean;
  /** Its own `max_tokens`. Lowering the request's `max_tokens` does not change it. */
  maxTokens: number | undefined;
  thinkingBudget: number;
  /** What it is asked for: a fallback changes members of the request. */
  asked: JsonObject;
}

function listModelAttempts(body: JsonObject): ModelAttempt[] {
  const first = {
    model: body.model,
    isFastMode: isFastSpeed(body.speed),
    maxTokens: undefined,
    thinkingBudget: getThinkingBudget(body.thinking),
    asked: body,
  };
  if (body.fallbacks === undefined || body.fallbacks === null) return [first];
  // "default" lets the API choose the model. It is priced as an unknown model.
  const named = Array.isArray(body.fallbacks) ? body.fallbacks.map(toFallbackObject) : [{ model: undefined }];
  // No real request has so many. One entry with an unknown model replaces the rest.
  if (named.length > MAX_STEPS) named.splice(MAX_STEPS, named.length, {});
  return [
    first,
    ...named.map((entry: JsonObject) => ({
      model: entry.model,
      isFastMode: first.isFastMode || isFastSpeed(entry.speed),
      maxTokens: toWholeNumber(entry.max_tokens),
      thinkingBudget: getThinkingBudget(entry.thinking),
      asked: { thinking: body.thinking, output_config: body.output_config, ...entry },
    })),
  ];
}

/** Adds the worst case of an advisor. Each use is a request of its own, to the model that the tool names. */
function addAdvisorMaximumCost(
  {
    worstCase: maximumCost,
    served,
    terms,
  }: { worstCase: MaximumCost; served: ServerToolsMaximumCost; terms: SettlementTerms },
  tool: JsonObject,
  { models }: MaximumCostOptions,
  geography: number,
): void {
  const rows = findBillableModelRows(models, tool.model);
  const window = Math.max(...rows.map((row) => row.max_input_tokens));
  const caching: PromptFeatures = { ...NO_FEATURES };
  extendCacheLifetime(tool.caching, caching);
  const price = findHighestPrice(rows, window, false, caching.cache, geography);
  const output = Math.min(toWholeNumber(tool.max_tokens) ?? getMaxOutputTokens(rows), window) * price.output;
  const uses = Math.min(toWholeNumber(tool.max_uses) ?? UNLIMITED_USES, MAX_STEPS);
  const estimated = Math.min(window, SERVED_STEP_TOKENS) * price.input + output;
  maximumCost.inputCost += uses * (window * price.input + output);
  served.inputCost += uses * estimated;
  served.useCost += window * price.input + output;
  served.estimatedUseCost += estimated;
  const dearestPrice = findHighestPrice(rows, window, false, caching.cache, 10);
  terms.advisor = addSecondModel(terms.advisor, dearestPrice, uses);
  terms.tokensPerSecond = Math.max(terms.tokensPerSecond, ...rows.map((row) => row.tokens_per_second));
  // An advisor without a name is priced as the dearest model.
  if (typeof tool.model === 'string') maximumCost.known &&= findOwnModelRow(models, tool.model) !== undefined;
  maximumCost.models.push(listModelNamesForLimits(models, tool.model));
}

/** @returns whether the API may summarize the prompt first. That is billed beside the answer, and `max_tokens` does not limit it. */
function canApiCompactPrompt(body: JsonObject, tokens: number, steps: number): boolean {
  if (body.compaction) return true;
  const edits = isObject(body.context_management) ? body.context_management.edits : undefined;
  if (!Array.isArray(edits)) return false;
  return edits.some((edit) => {
    if (!isObject(edit) || toStringOrUndefined(edit.type)?.startsWith('clear_')) return false;
    const trigger = isObject(edit.trigger) ? toWholeNumber(edit.trigger.value) : COMPACTION_TRIGGER;
    return steps > 1 || tokens >= (trigger ?? 0);
  });
}

/** @returns the terms of second models, with one more that may begin so often */
function addSecondModel(
  before: SecondModelPrices | undefined,
  { input, output, cached }: ReturnType<typeof findHighestPrice>,
  times: number,
): SecondModelPrices {
  return {
    inputPrice: Math.max(before?.inputPrice ?? 0, input),
    outputPrice: Math.max(before?.outputPrice ?? 0, output),
    cachePrice: Math.max(before?.cachePrice ?? 0, cached),
    times: (before?.times ?? 0) + times,
  };
}

function isFastSpeed(speed: unknown): boolean {
  return speed !== undefined && speed !== null && speed !== 'standard';
}

function getThinkingBudget(thinking: unknown): number {
  return (isObject(thinking) && thinking.type === 'enabled' && toWholeNumber(thinking.budget_tokens)) || 0;
}
