/** Computes the cost of an answer that was stopped, left or cut: an upper bound, limited by the time that has passed. */

import type { Model } from '../../claude/models/models.ts';
import {
  computeCost,
  countPromptTokens,
  hasPromptTokens,
  isCount,
  type Nanodollars,
  toNanodollarsPerToken,
  toValidCountOrZero,
  type Usage,
  WEB_SEARCH_NANODOLLARS,
} from '../../claude/pricing/cost.ts';
import type { SecondModelPrices, SettlementTerms } from '../../claude/pricing/hold-terms.ts';
import { USUAL_PAUSE_MS } from '../../claude/usage/hidden-output.ts';
import type { ObservedPart } from '../../claude/usage/usage-report.ts';

/** An interrupted answer, as far as it came. */
export interface InterruptedAnswer {
  usage: Usage | undefined;
  seen: ObservedPart;
  /** The known models before and after each switch of the answer to a fallback model: two for each switch. */
  handoverModels: readonly Model[];
  /** The model that answers last. */
  row: Model;
}

export interface InterruptedGrantTerms {
  hold: Nanodollars;
  /** The most output tokens of one step of the model that answers; undefined if that is not known. */
  mostOutput: number | undefined;
  terms: SettlementTerms;
  /** Whether the upstream stops writing when the connection is closed. */
  cancelStops: boolean;
  /** Whether a model that steps in reads the cached part of the prompt at the price of its cache, as at the Claude API. */
  sharesCache: boolean;
  /** The rates learned from other responses of the model and its tools. */
  learned: LearnedModelRates;
}

/** The rates learned from other responses. */
export interface LearnedModelRates {
  /** How often another model steps in in a second of output. */
  handOversPerSecond: number;
  /** The most tokens that the answering model writes in a second; undefined as long as too few of its answers are known. */
  tokensPerSecond: number | undefined;
  /** @returns the tokens of the longest known result of a tool; 0 if none is known */
  longestResult(tool: string): number;
}

export interface InterruptedCostEstimate {
  cost: Nanodollars;
  usage: Usage;
}

/** Milliseconds for which the model may write on: what was on its way, and until the API notices the closed connection. */
const IN_FLIGHT_MS = 250;
/** Milliseconds that are usual before the first event. Only in a longer silence may a loop of tools have begun unseen. */
const USUAL_START_MS = 2_000;
/** Tokens of the result of a search: those in the API's documentation, and some more. */
const SEARCH_RESULT_TOKENS = 8_000;
/** Tokens of any other result: those of a long page (the API's documentation of web fetch: 100 kB are about 25,000). */
const LONG_RESULT_TOKENS = 25_000;
/**
 * Minimum of milliseconds that a step of such a loop takes, beside its call: the tool responds, and the prompt is read. An
 * assumption: a search alone takes longer.
 */
const MIN_STEP_MS = 300;
/** The least tokens that a model writes to make a call. A step that runs code may take no longer than that. */
const MIN_CALL_TOKENS = 20;
/** Tokens that an advisor reads beside the conversation. */
const ADVICE_INPUT_TOKENS = 2_048;
/** The factor by which the token counts of two models may differ for the same text. */
const TOKENIZER_FACTOR = 1.35;

/** @returns the most tokens that may have been written in a time. */
function computeMaxTokensWritten(milliseconds: number, tokensPerSecond: number): number {
  return Math.ceil((Math.max(0, milliseconds) * tokensPerSecond) / 1_000);
}

/**
 * Computes an upper bound of what the upstream bills, in nanodollars.
 *
 * Seen output is bounded by its characters, unseen output by the time in which it can have been written. Neither counts for
 * more than the hold. Only usage that the upstream itself has reported may exceed it.
 */
export function computeInterruptedCost(
  { usage: begun, seen, handoverModels, row }: InterruptedAnswer,
  { hold, mostOutput, terms: granted, cancelStops, sharesCache, learned }: InterruptedGrantTerms,
): InterruptedCostEstimate {
  const usage = begun ?? {};
  const hasOneModel = !granted.advisor && !granted.fallbacks;
  const ownTokensPerSecond = Math.min(granted.tokensPerSecond, learned.tokensPerSecond ?? Number.POSITIVE_INFINITY);
  // With an advisor or fallback models, any of them may have written the unseen output, so use the granted speed, which is that
  // of the fastest model.
  const terms = hasOneModel ? { ...granted, tokensPerSecond: ownTokensPerSecond } : granted;
  // Some upstreams report the whole output at the end, but never the prompt. Then use the reported output instead of an
  // estimate.
  const isEnded = seen.final && toValidCountOrZero(usage.output_tokens) > 0;
  const unseen = computeMaxTokensWritten(seen.unseen_ms, terms.tokensPerSecond);
  const silent = computeMaxTokensWritten(seen.silent_ms, terms.tokensPerSecond);
  const hasNamedModel = begun !== undefined && handoverModels.length === 0;
  // The named model writes the output that is in flight, unless an advisor is running. The cost of an advisor or a fallback model
  // that may have begun since is added with `secondModels`.
  const isWriting = hasNamedModel && !seen.is_advising;
  const inFlight = computeMaxTokensWritten(IN_FLIGHT_MS, isWriting ? ownTokensPerSecond : terms.tokensPerSecond);
  // The shown thinking may be only a summary of longer thinking. So count the tokens that can have been written in that time,
  // if these are more.
  const written = seen.said + silent + Math.max(seen.thinking, unseen) + inFlight;
  const usualMs = begun ? USUAL_PAUSE_MS : USUAL_START_MS;
  const isLimited = (hasOneModel || hasNamedModel) && isSingleStep(terms, seen, usualMs);
  const unended = isEnded ? 0 : Math.min(written, isLimited ? (mostOutput ?? written) : written);
  const output = Math.max(unended, toValidCountOrZero(usage.output_tokens));
  // Only with an upstream that stops after a cancellation, or for a response that has ended, does what has arrived show the
  // cost. Otherwise, or after a use of an unknown tool, book the whole hold.
  const isCounted = (cancelStops || isEnded) && seen.opaque_uses === 0;
  const cacheTtl = terms.cache === '1h' ? '1h' : '5m';
  // If the upstream has not reported the prompt's tokens, use the number that the hold assumes.
  const lacksPrompt = !isCount(usage.input_tokens) || !hasPromptTokens(usage);
  const prompt = lacksPrompt ? terms.promptTokens : countPromptTokens(usage);
  const laterPrompts = seen.later_prompts.map(
    ({ tokens, unseen_ms }) => prompt + tokens + computeMaxTokensWritten(unseen_ms, terms.tokensPerSecond),
  );
  const lastPrompt = Math.max(prompt, ...laterPrompts);
  const reread = laterPrompts.reduce((sum, tokens) => sum + tokens, 0);
  const priced: Usage = { ...usage, output_tokens: output, ...(lacksPrompt && { input_tokens: prompt }) };
  const rows = [...new Set([row, ...handoverModels])];
  const before = seen.handed_over
    ? seen.handed_over.tokens + computeMaxTokensWritten(seen.handed_over.unseen_ms, terms.tokensPerSecond)
    : 0;
  const byModels =
    handoverModels.length > 0
      ? computeCostOfAttempts(priced, rows, before, cacheTtl)
      : computeCost(priced, row, { cacheTtl });
  const held = terms.promptCost * (terms.compacts ? 2 : 1) + output * terms.outputPrice;
  const answered = lacksPrompt ? Math.max(byModels, held) : byModels;
  const summarized = terms.compacts && !lacksPrompt ? terms.promptTokens : 0;
  const advice = terms.advisor && seen.advised > 0 ? computeAdviceCost(terms.advisor, seen, prompt, unseen) : 0;
  const searched = Math.max(0, seen.searches - toValidCountOrZero(usage.server_tool_use?.web_search_requests));
  const later = computeCostOfLaterSteps(row, terms, prompt, laterPrompts, output);
  const unseenSteps = isEnded ? 0 : computeCostOfUnseenSteps(terms, seen, lastPrompt, usualMs, learned);
  const cached = sharesCache && !lacksPrompt ? toValidCountOrZero(usage.cache_read_input_tokens) : 0;
  const secondModels = isEnded
    ? 0
    : computeCostOfUnseenModels(
        terms,
        seen,
        { prompt: lastPrompt, cached, output, handOvers: handoverModels.length / 2 },
        learned.handOversPerSecond,
      );
  const beside = later + unseenSteps + summarized * terms.inputPrice + advice + secondModels;
  const more = Math.ceil((beside * (usage.inference_geo === 'us' ? 11 : 10)) / 10);
  const estimate = answered + more + searched * WEB_SEARCH_NANODOLLARS;
  const reported = computeCost(usage, row, { cacheTtl });
  return {
    cost: Math.max(reported, isCounted ? Math.min(estimate, hold) : hold),
    usage: {
      ...priced,
      input_tokens: toValidCountOrZero(priced.input_tokens) + reread,
      server_tool_use: { ...usage.server_tool_use, web_search_requests: seen.searches },
    },
  };
}

/** @returns whether all output is of one step, so that `max_tokens` limits it: no tool was used, seen or in a silence */
function isSingleStep({ steps, advisor }: SettlementTerms, { uses, lost_ms }: ObservedPart, usualMs: number): boolean {
  return (steps === 'one' && !advisor) || (uses === 0 && lost_ms <= usualMs);
}

/**
 * Prices an answer in which several models took part. Each model that declined has read the prompt, and has written what
 * came before another one stepped in.
 *
 * @param rows every model that took part; the last one is the one that answers
 * @param before tokens that were written before the last one stepped in
 */
function computeCostOfAttempts(
  usage: Usage,
  rows: readonly Model[],
  before: number,
  cacheTtl: '5m' | '1h',
): Nanodollars {
  const output = toValidCountOrZero(usage.output_tokens);
  const first = { ...usage, output_tokens: Math.min(output, before) };
  const stepped = rows.length > 1 ? rows.slice(0, -1) : rows;
  const declined = Math.max(...stepped.map((row) => computeCost(first, row, { cacheTtl })));
  const input_tokens = Math.ceil(countPromptTokens(usage) * TOKENIZER_FACTOR);
  const { inference_geo, speed } = usage;
  const others = rows.slice(1).map((row, index) => {
    const isLast = index === rows.length - 2;
    const output_tokens = isLast ? Math.max(0, output - before) : 0;
    return computeCost({ input_tokens, output_tokens, inference_geo, speed }, row, { cacheTtl });
  });
  return others.reduce((sum, one) => sum + one, declined);
}

/** Prices the input of later steps. In one of them the prompt may become a long one, for which every token is dearer. */
function computeCostOfLaterSteps(
  { prices }: Model,
  { inputPrice, cache }: SettlementTerms,
  prompt: number,
  laterPrompts: readonly number[],
  output: number,
): Nanodollars {
  const long = prices.long_prompt;
  const isLongPrompt = (tokens: number) => long !== undefined && tokens > long.above_tokens;
  const kind = cache === '1h' ? 'cache_write_1h' : cache === '5m' ? 'cache_write_5m' : 'input';
  const longPrice = long ? Math.max(inputPrice, toNanodollarsPerToken(long[kind])) : inputPrice;
  const read = laterPrompts.reduce((sum, tokens) => sum + tokens * (isLongPrompt(tokens) ? longPrice : inputPrice), 0);
  const becomesLong = !isLongPrompt(prompt) && laterPrompts.some(isLongPrompt);
  return read + (becomesLong && long ? output * toNanodollarsPerToken(Math.max(0, long.output - prices.output)) : 0);
}

/**
 * Prices the unobserved steps of a loop of the API's own tools. While the end is in flight, a running use may add its result to
 * the next prompt, and another use may begin. In a silence the remaining uses count, as many as there was time for, each with
 * the prompt of its step. Nothing else limits how often code is run.
 *
 * @param prompt tokens of the last prompt that was seen. While a use runs, that is the prompt of the step before it
 * @param usualMs milliseconds of silence that are usual there
 */
function computeCostOfUnseenSteps(
  { serverTools, inputPrice, advisor, tokensPerSecond }: SettlementTerms,
  { lost_ms, uses, running_uses: running, running_tools, searches, longest_result, runs_code }: ObservedPart,
  prompt: number,
  usualMs: number,
  { longestResult }: LearnedModelRates,
): Nanodollars {
  if (!serverTools) return 0;
  const searchesLeft = Math.max(0, serverTools.searches - searches);
  // If the request limits the length of tool results (`mostResult`), or a longer result was observed, use that length instead
  // of the usual one.
  const limitResultTokens = (tokens: number) => Math.max(serverTools.mostResult ?? tokens, longest_result);
  const getMaxResultTokens = (tool: string) =>
    limitResultTokens(Math.max(longestResult(tool), tool === 'web_search' ? SEARCH_RESULT_TOKENS : LONG_RESULT_TOKENS));
  const longest = Math.max(0, ...(running_tools ?? []).map(getMaxResultTokens));
  const dearest = Math.max(inputPrice, advisor?.inputPrice ?? 0);
  if (lost_ms <= usualMs) {
    const added = Math.min(running * (longest || limitResultTokens(LONG_RESULT_TOKENS)), serverTools.window);
    return added * inputPrice + Math.min(1, searchesLeft) * WEB_SEARCH_NANODOLLARS;
  }
  // Assume at least a search result after a short silence, and at least a long page after a long one, because fetching a long
  // page takes time.
  const result = Math.max(
    longest,
    limitResultTokens(lost_ms > USUAL_START_MS ? LONG_RESULT_TOKENS : SEARCH_RESULT_TOKENS),
  );
  const written = computeMaxTokensWritten(lost_ms, tokensPerSecond);
  // The result of a running use can arrive at any time, so it always counts. Each further use also takes the time of a step, so
  // their number is limited by the length of the silence.
  const stepMs = MIN_STEP_MS + (MIN_CALL_TOKENS * 1_000) / tokensPerSecond;
  const left = Math.min(Math.max(0, serverTools.uses - uses), Math.floor((lost_ms + IN_FLIGHT_MS) / stepMs));
  // A step may search several times at once. But the model writes each call, so the time limits their number.
  const calls = Math.ceil((written + computeMaxTokensWritten(IN_FLIGHT_MS, tokensPerSecond)) / MIN_CALL_TOKENS);
  const searched = Math.min(searchesLeft, calls) * WEB_SEARCH_NANODOLLARS;
  if (runs_code) return (Math.ceil(written / MIN_CALL_TOKENS) * prompt + running * result) * inputPrice + searched;
  // Each prompt contains the results of all earlier uses, so results are billed 1 + 2 + … + n = n (n + 1) / 2 times.
  const results = ((left + 1) * running + (left * (left + 1)) / 2) * result;
  const tokens = Math.min(left * prompt + results, (left + 1) * serverTools.window);
  return tokens * dearest + searched + written * (advisor?.outputPrice ?? 0);
}

/**
 * Prices the models that may have begun while the end was on its way: an advisor, and one that steps in. Each reads the prompt,
 * an advisor with all that was written. Either may begin behind a block or in a silence. While a block is written, the use of an
 * advisor would have been seen. Another model may step in even then, and is booked by how often that happens in the time of one
 * round trip: too much for most answers, too little for the few in which it does, and enough for their sum.
 *
 * @param prompt tokens of the last prompt that was seen, of them `cached` at the price of the cache
 * @param handOvers how often one has stepped in
 */
function computeCostOfUnseenModels(
  { advisor, fallbacks, tokensPerSecond }: SettlementTerms,
  { advised, lost_ms, quiet_ms, is_between }: ObservedPart,
  { prompt, cached, output, handOvers }: { prompt: number; cached: number; output: number; handOvers: number },
  handOversPerSecond: number,
): Nanodollars {
  const written = computeMaxTokensWritten(lost_ms + IN_FLIGHT_MS, tokensPerSecond);
  const computeCostOfModel = (
    model: SecondModelPrices | undefined,
    begun: number,
    tokens: number,
    cachedTokens: number,
  ) => {
    if (!model || begun >= (model.times ?? Number.POSITIVE_INFINITY)) return 0;
    const read = Math.ceil((tokens - cachedTokens) * TOKENIZER_FACTOR) * model.inputPrice;
    const readAgain = Math.ceil(cachedTokens * TOKENIZER_FACTOR) * model.cachePrice;
    return read + readAgain + written * model.outputPrice;
  };
  const mayHaveBegun = is_between || quiet_ms > USUAL_PAUSE_MS;
  const advice = mayHaveBegun ? computeCostOfModel(advisor, advised, prompt + output + ADVICE_INPUT_TOKENS, 0) : 0;
  const rate = (handOversPerSecond * (quiet_ms + IN_FLIGHT_MS)) / 1_000;
  return advice + computeCostOfModel(fallbacks, handOvers, prompt, cached) * (mayHaveBegun ? 1 : Math.min(1, rate));
}

/**
 * Prices the uses of an advisor. Each use is a separate request, which reads everything that the model has read and written so
 * far.
 */
function computeAdviceCost(
  { inputPrice, outputPrice }: NonNullable<SettlementTerms['advisor']>,
  { advised, advised_tokens }: ObservedPart,
  prompt: number,
  written: number,
): Nanodollars {
  const read = Math.ceil((advised * prompt + advised_tokens) * TOKENIZER_FACTOR) + advised * ADVICE_INPUT_TOKENS;
  return read * inputPrice + written * outputPrice;
}
