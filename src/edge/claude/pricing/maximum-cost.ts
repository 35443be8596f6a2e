/**
 * Computes the most that a request can cost, from its body alone. Its hold has this amount.
 *
 * A token of the API's tokenizers is at least one byte, so text has at most as many tokens as bytes. JSON only makes text
 * longer (quotes, escapes, names), so the bytes of the body are enough, and nothing is encoded or serialized to count them.
 * `prompt-features.ts` finds what costs more, or less, than its bytes.
 */

import { isObject, type JsonObject, toStringOrUndefined } from '../../kit/json/object.ts';
import type { ModelTable } from '../models/models.ts';
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
  /** UTF-8 bytes of the body as it is sent, or more. For a merged body it is the sum of its parts. */
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
  /**
   * Input tokens, from count_tokens or the turn before; null if the upstream does not count them, absent if they were not
   * counted.
   */
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

/** The maximum of tokens that the API adds to every request. */
const TOKENS_PER_REQUEST = 256;
/** Two limits that are higher than any budget pays for. Below them every sum is an exact integer. */
const MAX_STEPS = 1_000;
const MAX_HOLD: Nanodollars = 1e15;
/**
 * The input tokens from which the API summarizes the prompt, unless the request contains another number:
 * https://platform.claude.com/docs/en/build-with-claude/compaction
 */
const COMPACTION_TRIGGER = 150_000;
/** How many tokens one use of a tool of the API adds to the prompt, by estimate. Searches usually add less. */
const SERVED_STEP_TOKENS = 25_000;
/** A prompt is not counted if it is less than this part (a fourth) of what the steps of a loop read by estimate. */
const MIN_COUNTED_SHARE = 4;
/** The maximum of bytes for each counted token. No text has so few tokens, so a lower count cannot be that of the prompt. */
const MAX_BYTES_PER_TOKEN = 16;
/** The bytes for each character of base64. A token has at least one. */
const BYTES_PER_BASE64_CHARACTER = 0.75;
/** Tokens of a call beside its result, by estimate. */
const CALL_OVERHEAD_TOKENS = 1_000;

/**
 * Computes the most that a request can cost: the sum over the attempts of all models that may answer it, and over its advisors.
 *
 * @param body a Messages body as it is sent, with models as the Claude API names them. Only that its `messages` is a list is
 *   assumed.
 */
export function computeMaximumCost(
  body: JsonObject,
  options: MaximumCostOptions,
): { maximumCost: MaximumCost; terms: SettlementTerms } {
  const request = findBoundedRequest(body, options);
  const [first, ...others] = listModelAttempts(body);
  const requested = boundAttempt(request, first, options.asked);
  const fallbacks = others.map((attempt) => boundAttempt(request, attempt));
  const advisors = request.found.advisors.slice(0, MAX_ADVISORS).map((tool) => boundAdvisor(request, tool));
  return {
    maximumCost: sumCosts(request, [requested, ...fallbacks], advisors),
    terms: combineTerms(request, requested, fallbacks, advisors),
  };
}

function sumCosts(
  { options, found, uses }: BoundedRequest,
  attempts: readonly AttemptBounds[],
  advisors: readonly AdvisorBounds[],
): MaximumCost {
  const all = [...attempts, ...advisors].map(({ cost }) => cost);
  const addUp = (name: SummedCost) => all.reduce((sum, cost) => sum + cost[name], 0);
  const searches = found.searches * WEB_SEARCH_NANODOLLARS * all.length;
  const discount = (cost: Nanodollars, full: Nanodollars) => (options.batch ? halveTokenCost(cost, full) : cost);
  const addUpInput = (name: 'inputCost' | 'estimatedInputCost') => {
    const cost = found.advisors.length > MAX_ADVISORS ? Number.POSITIVE_INFINITY : addUp(name);
    return limitToMaxHold(discount(cost, searches));
  };
  const outputTokens = attempts[0]?.outputTokens ?? 0;
  const outputPrice = discount(addUp('outputPrice'), 0);
  const maximumCost: MaximumCost = {
    inputTokens: addUp('inputTokens'),
    inputCost: addUpInput('inputCost'),
    outputTokens,
    outputPrice: outputPrice * outputTokens <= MAX_HOLD ? outputPrice : MAX_HOLD,
    leastOutput: Math.max(...attempts.map(({ leastOutput }) => leastOutput)),
    usefulOutput: Math.max(...attempts.map(({ usefulOutput }) => usefulOutput)),
    bounded: attempts.every(({ isBounded }) => isBounded),
    countable:
      found.by !== 'window' &&
      !found.serverTools.hidden &&
      options.count === undefined &&
      attempts.every(({ isWorthCounting }) => isWorthCounting),
    isPriced: all.every(({ isKnown }) => isKnown),
    models: all.map(({ names }) => names),
  };
  if (found.serverTools.tools > 0) {
    maximumCost.serverTools = {
      tool: found.serverTools.name,
      single: found.serverTools.tools === 1 && found.serverTools.unlimited === found.serverTools.lackMaxUses,
      lacksMaxUses: found.serverTools.lackMaxUses > 0,
      ...computeLeastServerToolUses(found.serverTools),
      uses,
      inputTokens: addUp('estimatedInputTokens'),
      inputCost: addUpInput('estimatedInputCost'),
      useCost: addUp('useCost'),
      estimatedUseCost: addUp('estimatedUseCost'),
      useOutputPrice: addUp('useOutputPrice'),
    };
  }
  const isUncounted = found.by === 'count' && options.count === null;
  const because = isUncounted ? 'a block that the upstream cannot count' : found.because;
  if (because !== undefined && found.by !== 'bytes') maximumCost.unboundedReason = because;
  return maximumCost;
}

/** Combines the terms of all models. Any of them may be the one that answers, so the highest of each term decides. */
function combineTerms(
  { body, options, found, uses, steps }: BoundedRequest,
  requested: AttemptBounds,
  fallbacks: readonly AttemptBounds[],
  advisors: readonly AdvisorBounds[],
): SettlementTerms {
  const attempts = [requested, ...fallbacks];
  const findHighest = (name: RaisedTerm) => Math.max(...attempts.map(({ terms }) => terms[name]));
  const terms: SettlementTerms = {
    promptTokens: findHighest('promptTokens'),
    promptCost: limitToMaxHold(findHighest('promptCost')),
    leastPrompt: estimateMinimumPromptTokens(found, options.bytes),
    inputPrice: findHighest('inputPrice'),
    outputPrice: findHighest('outputPrice'),
    tokensPerSecond: Math.max(findHighest('tokensPerSecond'), ...advisors.map((one) => one.tokensPerSecond)),
    isFast: attempts.some(({ isFast }) => isFast),
    cache: found.cache,
    steps: steps > 1 ? 'several' : 'one',
    compacts: attempts.some(({ isCompacting }) => isCompacting),
    streams: body.stream === true,
  };
  if (found.serverTools.tools > 0) {
    terms.serverTools = { uses, searches: found.searches, window: Math.max(...attempts.map(({ window }) => window)) };
    if (Number.isFinite(found.serverTools.result)) terms.serverTools.mostResult = found.serverTools.result;
  }
  if (fallbacks.length > 0) terms.fallbacks = combineSecondModels(fallbacks);
  if (advisors.length > 0) terms.advisor = combineSecondModels(advisors);
  return terms;
}

/** The bounds for all models that may answer a request. */
interface BoundedRequest {
  body: JsonObject;
  options: MaximumCostOptions;
  found: PromptFeatures;
  /** How often the API may call its own tools, and the resulting number of steps. */
  uses: number;
  steps: number;
  /** The number of steps for a limit that estimates. */
  estimatedSteps: number;
  /** Factors of the prices, in tenths: the highest that may apply, and the one that the request names. */
  geography: { hold: number; requested: number };
  /** Whether the request enables the context window of a million tokens. */
  isWide: boolean;
}

function findBoundedRequest(body: JsonObject, options: MaximumCostOptions): BoundedRequest {
  const { readings, betas, thinkingShare = BYTES_PER_BASE64_CHARACTER } = options;
  const found = findFeaturesOfBody(body, options.before, options.lengthOf);
  const kept = Math.ceil(found.signed * Math.min(BYTES_PER_BASE64_CHARACTER, thinkingShare));
  found.extra += TOKENS_PER_REQUEST - (found.signed - kept);
  found.thought += kept;
  if (readings) addModels(findModelsInRepeatedKeys(readings.text, readings.json), found);
  const uses = found.serverTools.uses + (found.serverTools.unlimited ? UNLIMITED_USES - 1 : 0);
  const steps = Math.min(MAX_STEPS, uses + 1);
  return {
    body,
    options,
    found,
    uses,
    steps,
    // If nothing limits the uses of server tools, the API pauses after ten steps
    // (https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons). The estimate adds one step for unlimited
    // tools.
    estimatedSteps: steps + Number(found.serverTools.unlimited > 0),
    geography: {
      hold: body.inference_geo === 'global' ? 10 : 11,
      requested: body.inference_geo === 'us' ? 11 : 10,
    },
    isWide: betas?.some((beta) => beta.startsWith('context-1m')) ?? false,
  };
}

/** The maximum cost of one model. That of a request is the sum over its models. */
interface ModelCost {
  /** The names of the model by which limits may allow it. */
  names: string[];
  /** Whether the model is in the price table, or the API chooses it, which is priced as the most expensive. */
  isKnown: boolean;
  inputTokens: number;
  inputCost: Nanodollars;
  /** The same for limits with `served_tools: "estimate"`. */
  estimatedInputTokens: number;
  estimatedInputCost: Nanodollars;
  outputPrice: Nanodollars;
  /** The amount that each use of the API's own tools adds. */
  useCost: Nanodollars;
  estimatedUseCost: Nanodollars;
  useOutputPrice: Nanodollars;
}

type SummedCost = Exclude<keyof ModelCost, 'names' | 'isKnown'>;
type RaisedTerm = 'promptTokens' | 'promptCost' | 'inputPrice' | 'outputPrice' | 'tokensPerSecond';

/** The maximum cost of one model's response, and the terms by which it is settled if it is interrupted. */
interface AttemptBounds {
  cost: ModelCost;
  terms: Pick<SettlementTerms, RaisedTerm>;
  outputTokens: number;
  leastOutput: number;
  usefulOutput: number;
  isBounded: boolean;
  isWorthCounting: boolean;
  isCompacting: boolean;
  isFast: boolean;
  window: number;
  asSecondModel: Required<SecondModelPrices>;
}

/** @param alias the model's name as the caller wrote it, if that is known */
function boundAttempt(request: BoundedRequest, attempt: ModelAttempt, alias?: string): AttemptBounds {
  const { body, options, found, uses, steps, estimatedSteps, geography, isWide } = request;
  const { models } = options;
  const { hidden, growth, result } = found.serverTools;
  const { model, isFastMode, maxTokens: ownMaxTokens } = attempt;
  const rows = findBillableModelRows(models, model);
  const row = findOwnModelRow(models, model);
  const window = Math.max(...rows.map((one) => one.max_input_tokens), isWide ? 1_000_000 : 0);
  const prompt = computePromptTokenUpperBound(found, window, options);
  const first = hidden ? { tokens: window, bounded: false } : prompt;
  const firstEstimated = hidden ? Math.min(window, prompt.tokens + SERVED_STEP_TOKENS) : prompt.tokens;
  const output = toWholeNumber(body.max_tokens) ?? getMaxOutputTokens(rows);
  const later = steps > 1 ? Math.min(window, first.tokens + growth + (steps - 1) * output) : 0;
  const added = Number.isFinite(result) ? result + CALL_OVERHEAD_TOKENS : SERVED_STEP_TOKENS;
  const input = first.tokens + later * (steps - 1);
  const estimatedInput = Math.min(input, sumTokensReadBySteps(firstEstimated, added, estimatedSteps, window));
  const longest = Math.max(first.tokens, later);
  const isCompacting = canApiCompactPrompt(body, longest, steps);
  const findPrice = (promptTokens: number, factor: number) =>
    findHighestPrice(rows, promptTokens, isFastMode, found.cache, factor);
  const price = findPrice(longest, geography.hold);
  const searches = found.searches * WEB_SEARCH_NANODOLLARS;
  const searchesPerUse = searches / Math.max(1, uses);
  const ownOutput = ownMaxTokens === undefined ? 0 : Math.min(ownMaxTokens, window) * price.output * steps;
  const computeInputCost = (tokens: number) => {
    const summaries = isCompacting ? tokens * price.input + getMaxOutputTokens(rows) * price.output * steps : 0;
    return tokens * price.input + searches + summaries + ownOutput;
  };
  return {
    cost: {
      names: listModelNamesForLimits(models, model, alias),
      isKnown: model === undefined || row !== undefined,
      inputTokens: input * (isCompacting ? 2 : 1),
      inputCost: computeInputCost(input),
      estimatedInputTokens: estimatedInput * (isCompacting ? 2 : 1),
      estimatedInputCost: computeInputCost(estimatedInput),
      // A fallback with its own `max_tokens` is not affected by lowering the request's `max_tokens`.
      outputPrice: ownMaxTokens === undefined ? price.output * steps : 0,
      useCost: later * price.input + searchesPerUse,
      // Later uses cost more than the average one, so a number of uses computed from this average is on the safe side.
      estimatedUseCost: ((estimatedInput - firstEstimated) / Math.max(1, uses)) * price.input + searchesPerUse,
      useOutputPrice: ownMaxTokens === undefined ? price.output : 0,
    },
    terms: {
      promptTokens: first.tokens,
      promptCost: first.tokens * findPrice(first.tokens, geography.hold).input,
      inputPrice: findPrice(first.tokens, 10).input,
      // A workspace can set a geography that costs more, which is unknown here
      // (https://platform.claude.com/docs/en/build-with-claude/data-residency). `tokens_per_second` is high enough to cover
      // that surcharge.
      outputPrice: findPrice(first.tokens, geography.requested).output,
      tokensPerSecond: Math.max(
        ...rows.map((one) => (isFastMode ? one.fast_tokens_per_second : one.tokens_per_second)),
      ),
    },
    outputTokens: Math.min(output, window),
    leastOutput: attempt.thinkingBudget + 1,
    usefulOutput: computeMinTokensForText(row, attempt.asked),
    isBounded: first.bounded && (steps === 1 || growth !== Number.POSITIVE_INFINITY),
    isWorthCounting: prompt.tokens * estimatedSteps * MIN_COUNTED_SHARE >= estimatedInput,
    isCompacting,
    isFast: isFastMode,
    window,
    asSecondModel: toSecondModel(findPrice(window, 10), 1),
  };
}

/** The maximum cost of an advisor: each use is a separate request, to the model that the tool names. */
interface AdvisorBounds {
  cost: ModelCost;
  tokensPerSecond: number;
  asSecondModel: Required<SecondModelPrices>;
}

function boundAdvisor({ options: { models }, geography }: BoundedRequest, tool: JsonObject): AdvisorBounds {
  const rows = findBillableModelRows(models, tool.model);
  const window = Math.max(...rows.map((row) => row.max_input_tokens));
  const caching: PromptFeatures = { ...NO_FEATURES };
  extendCacheLifetime(tool.caching, caching);
  const price = findHighestPrice(rows, window, false, caching.cache, geography.hold);
  const output = Math.min(toWholeNumber(tool.max_tokens) ?? getMaxOutputTokens(rows), window) * price.output;
  const uses = Math.min(toWholeNumber(tool.max_uses) ?? UNLIMITED_USES, MAX_STEPS);
  const useCost = window * price.input + output;
  const estimatedUseCost = Math.min(window, SERVED_STEP_TOKENS) * price.input + output;
  return {
    cost: {
      names: listModelNamesForLimits(models, tool.model),
      isKnown: typeof tool.model !== 'string' || findOwnModelRow(models, tool.model) !== undefined,
      inputTokens: 0,
      inputCost: uses * useCost,
      estimatedInputTokens: 0,
      estimatedInputCost: uses * estimatedUseCost,
      outputPrice: 0,
      useCost,
      estimatedUseCost,
      useOutputPrice: 0,
    },
    tokensPerSecond: Math.max(...rows.map((row) => row.tokens_per_second)),
    asSecondModel: toSecondModel(findHighestPrice(rows, window, false, caching.cache, 10), uses),
  };
}

/** @returns to how many uses `max_uses` can limit the tools that lack it, where only these are unlimited */
function computeLeastServerToolUses({
  uses,
  unlimited,
  lackMaxUses,
}: PromptFeatures['serverTools']): Pick<ServerToolsMaximumCost, 'leastUses'> {
  return lackMaxUses > 0 && lackMaxUses === unlimited ? { leastUses: uses + lackMaxUses } : {};
}

/** @returns half of what tokens cost. Searches have no half price. */
function halveTokenCost(cost: Nanodollars, searches: Nanodollars): Nanodollars {
  return Math.ceil(Math.max(0, cost - searches) / 2) + Math.min(cost, searches);
}

function limitToMaxHold(cost: Nanodollars): Nanodollars {
  return cost <= MAX_HOLD ? cost : MAX_HOLD;
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
  // Anthropic documents count_tokens as an estimate (https://platform.claude.com/docs/build-with-claude/token-counting). This
  // margin assumes an error of at most 2%, or a few dozen tokens for short prompts.
  const margin = Math.max(64, Math.ceil(count * 0.02)) + features.linkedImages * TOKENS_PER_IMAGE;
  const thought = leavesOutThinking ? features.thought : 0;
  const tokens = Math.max(count + margin + thought, estimateMinimumPromptTokens(features, bytes));
  return { tokens: Math.min(byBytes, tokens), bounded: true };
}

/**
 * @returns the least tokens of the first prompt. The bytes do not bound the tokens of a file, or of content that a model may
 * leave out
 */
function estimateMinimumPromptTokens({ by, encoded, thought }: PromptFeatures, bytes: number): number {
  return by === 'bytes' ? Math.floor(Math.max(0, bytes - encoded - thought) / MAX_BYTES_PER_TOKEN) : 0;
}

/** @returns the tokens that steps read together, of which each reads so many more than the one before, up to the window */
function sumTokensReadBySteps(first: number, added: number, steps: number, window: number): number {
  const grown = Math.min(steps, Math.floor((window - first) / added) + 1);
  return grown * first + (added * grown * (grown - 1)) / 2 + (steps - grown) * window;
}

/** An attempt to answer by one model: the model that was asked for, or a fallback that steps in for it. */
interface ModelAttempt {
  model: unknown;
  isFastMode: boolean;
  /** Its own `max_tokens`. Lowering the request's `max_tokens` does not change it. */
  maxTokens: number | undefined;
  thinkingBudget: number;
  /** The fields of the request to this model. A fallback changes some of them. */
  asked: JsonObject;
}

function listModelAttempts(body: JsonObject): [ModelAttempt, ...ModelAttempt[]] {
  const first = {
    model: body.model,
    isFastMode: isFastSpeed(body.speed),
    maxTokens: undefined,
    thinkingBudget: getThinkingBudget(body.thinking),
    asked: body,
  };
  if (body.fallbacks === undefined || body.fallbacks === null) return [first];
  // With `"default"` the API chooses the fallback model
  // (https://platform.claude.com/docs/en/build-with-claude/refusals-and-fallback), so price it as an unknown model.
  const named = Array.isArray(body.fallbacks) ? body.fallbacks.map(toFallbackObject) : [{ model: undefined }];
  // Real requests have fewer fallbacks. Beyond the limit, one entry without a model, priced as an unknown one, replaces the
  // rest.
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

function toSecondModel(price: ReturnType<typeof findHighestPrice>, times: number): Required<SecondModelPrices> {
  return { inputPrice: price.input, outputPrice: price.output, cachePrice: price.cached, times };
}

/** @returns the highest prices of several second models, and how often one of them may begin */
function combineSecondModels(all: readonly Pick<AttemptBounds, 'asSecondModel'>[]): SecondModelPrices {
  const findHighest = (name: keyof SecondModelPrices) =>
    Math.max(...all.map(({ asSecondModel }) => asSecondModel[name]));
  return {
    inputPrice: findHighest('inputPrice'),
    outputPrice: findHighest('outputPrice'),
    cachePrice: findHighest('cachePrice'),
    times: all.reduce((sum, { asSecondModel }) => sum + asSecondModel.times, 0),
  };
}

function isFastSpeed(speed: unknown): boolean {
  return speed !== undefined && speed !== null && speed !== 'standard';
}

function getThinkingBudget(thinking: unknown): number {
  return (isObject(thinking) && thinking.type === 'enabled' && toWholeNumber(thinking.budget_tokens)) || 0;
}
