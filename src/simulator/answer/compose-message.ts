import type { JsonObject } from '../../api-rules/json.ts';
import { createPromptBlocks, sumPromptTokens } from '../prompt/prompt-blocks.ts';
import { type CachePlan, type PromptCache, placeAutomaticBreakpoint } from '../prompt/prompt-cache.ts';
import { computeDigest, createApiIdentifier, type Digest } from '../random/digest.ts';
import { createInvalidRequestError } from '../request/errors.ts';
import { parseMessageRequest } from '../request/message-params.ts';
import type { MessageRequest, RequestValidationContext } from '../request/message-request.ts';
import { type AnswerGenerationOptions, composeAnswer } from './answer.ts';
import { composeCompactionAnswer, countSummarizationPromptTokens } from './compact.ts';
import type { AnswerMessageSource } from './message-usage.ts';

/** A request that the API would accept, and what the cache does with its prompt. */
export interface ValidatedMessageRequest {
  request: MessageRequest;
  plan: CachePlan;
  /** Tokens of the prompt. */
  input: number;
}

const NO_TOOL_CALL: CachePlan = {
  usage: { uncached: 0, read: 0, written5m: 0, written1h: 0 },
  commitToCache: () => undefined,
};

/**
 * Judges a body of `/v1/messages`, and finds what its prompt reads from the cache.
 *
 * @param account whose prompts are in the cache
 * @throws ApiError in the API's words for a request that the API refuses, for example because the prompt is too long
 */
export function validateMessageAndPlanCache(
  body: JsonObject,
  judgement: RequestValidationContext,
  cache: PromptCache,
  account: string,
): ValidatedMessageRequest {
  const request = parseMessageRequest(body, judgement);
  const { model } = request;
  const blocks = createPromptBlocks(request);
  placeAutomaticBreakpoint(blocks, request.automaticCaching);
  const input = sumPromptTokens(blocks);
  if (input > model.max_input_tokens) {
    throw createInvalidRequestError(`prompt is too long: ${input} tokens > ${model.max_input_tokens} maximum`);
  }
  const owner = computeDigest(`${account}:${model.id}`);
  const plan = cache.planCacheUse(blocks, owner, model.minimum_cacheable_tokens, judgement.now);
  if (request.compaction === undefined) return { request, input, plan };
  const asking = countSummarizationPromptTokens(request.compaction);
  const usage = { ...plan.usage, uncached: plan.usage.uncached + asking };
  // If the summarization prompt does not fit the context window, the API does not call the model, so nothing is billed or
  // cached.
  const called = input + asking < model.max_input_tokens ? { ...plan, usage } : NO_TOOL_CALL;
  return { request, input: input + asking, plan: called };
}

/** The options of an answer, besides the validated request. */
export type MessageCompositionOptions = Pick<
  AnswerGenerationOptions,
  'seed' | 'nonce' | 'text' | 'stopReason' | 'compaction' | 'thinking'
>;

/**
 * Writes the answer to a judged body.
 *
 * @returns the message, and the digest of the body: equal bodies get equal answers
 */
export function composeMessage(
  body: JsonObject,
  { request, plan, input }: ValidatedMessageRequest,
  composing: MessageCompositionOptions,
): { message: AnswerMessageSource; identity: Digest } {
  const { seed, nonce } = composing;
  const { stream: _, ...members } = body;
  const identity = computeDigest(JSON.stringify(members), seed);
  const windowLeft = request.model.max_input_tokens - input;
  const conditions = { ...composing, remainingWindow: windowLeft, identity };
  const { compaction } = request;
  const answer =
    compaction === undefined
      ? composeAnswer(request, conditions)
      : composeCompactionAnswer(request, compaction, conditions);
  const message = {
    id: createApiIdentifier('msg_', computeDigest('message', nonce)),
    request,
    answer,
    cache: plan.usage,
  };
  const [next] = answer.stopReason === 'refusal' ? request.fallbacks : [];
  if (next === undefined) return { message, identity };
  // The answer of the fallback model begins with a `fallback` block:
  // https://platform.claude.com/docs/en/build-with-claude/refusals-and-fallback
  const other = { ...request, model: next, binding: { ...request.binding, model: next.id } };
  const second = composeAnswer(other, { ...conditions, stopReason: undefined, isFallback: true });
  const trigger = { type: 'refusal', category: null };
  const block = { type: 'fallback', from: { model: request.model.id }, to: { model: next.id }, trigger };
  second.blocks.unshift({ start: block, deltas: [], final: block });
  return { message: { ...message, request: other, answer: second, refused: answer.outputTokens }, identity };
}
