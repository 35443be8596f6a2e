import { listPromptBlocks, sumPromptTokens } from '../prompt/prompt-blocks.ts';
import { type CachePlan, type PromptCache, placeBreakpoints } from '../prompt/prompt-cache.ts';
import { computeDigest, createIdentifier, type Digest } from '../random/digest.ts';
import { invalidRequestError } from '../request/errors.ts';
import type { JsonObject } from '../request/json.ts';
import { readMessageRequest } from '../request/message-params.ts';
import type { Judgement, MessageRequest } from '../request/message-request.ts';
import { type AnswerConditions, composeAnswer } from './answer.ts';
import { composeCompaction, countSummarizationTokens } from './compact.ts';
import type { AnsweredMessage } from './message-usage.ts';

/** A request that the API would accept, and what the cache does with its prompt. */
export interface JudgedMessage {
  request: MessageRequest;
  plan: CachePlan;
  /** Tokens of the prompt. */
  input: number;
}

const NO_TOOL_CALL: CachePlan = {
  usage: { uncached: 0, read: 0, written5m: 0, written1h: 0 },
  commit: () => undefined,
};

/**
 * Judges a body of `/v1/messages`, and finds what its prompt reads from the cache.
 *
 * @param account whose prompts are in the cache
 * @throws ApiError in the API's words for a request that the API refuses, for example because the prompt is too long
 */
export function judgeMessage(
  body: JsonObject,
  judgement: Judgement,
  cache: PromptCache,
  account: string,
): JudgedMessage {
  const request = readMessageRequest(body, judgement);
  const { model } = request;
  const blocks = listPromptBlocks(request);
  placeBreakpoints(blocks, request.automaticCaching);
  const input = sumPromptTokens(blocks);
  if (input > model.max_input_tokens) {
    throw invalidRequestError(`prompt is too long: ${input} tokens > ${model.max_input_tokens} maximum`);
  }
  const owner = computeDigest(`${account}:${model.id}`);
  const plan = cache.plan(blocks, owner, model.minimum_cacheable_tokens, judgement.now);
  if (request.compaction === undefined) return { request, input, plan };
  const asking = countSummarizationTokens(request.compaction);
  const usage = { ...plan.usage, uncached: plan.usage.uncached + asking };
  // If its own prompt does not fit the window, the API makes no call, so there is nothing to bill or to cache.
  const called = input + asking < model.max_input_tokens ? { ...plan, usage } : NO_TOOL_CALL;
  return { request, input: input + asking, plan: called };
}

/** What an answer depends on, besides what was judged. */
export type CompositionConditions = Pick<
  AnswerConditions,
  'seed' | 'nonce' | 'text' | 'stopReason' | 'compaction' | 'thinking'
>;

/**
 * Writes the answer to a judged body.
 *
 * @returns the message, and the digest of the body: equal bodies get equal answers
 */
export function composeMessage(
  body: JsonObject,
  { request, plan, input }: JudgedMessage,
  composing: CompositionConditions,
): { message: AnsweredMessage; identity: Digest } {
  const { seed, nonce } = composing;
  const { stream: _, ...members } = body;
  const identity = computeDigest(JSON.stringify(members), seed);
  const windowLeft = request.model.max_input_tokens - input;
  const conditions = { ...composing, remainingWindow: windowLeft, identity };
  const { compaction } = request;
  const answer =
    compaction === undefined ? composeAnswer(request, conditions) : composeCompaction(request, compaction, conditions);
  const message = { id: createIdentifier('msg_', computeDigest('message', nonce)), request, answer, cache: plan.usage };
  const [next] = answer.stopReason === 'refusal' ? request.fallbacks : [];
  if (next === undefined) return { message, identity };
  // Another model answers behind a block that says so.
  const other = { ...request, model: next, binding: { ...request.binding, model: next.id } };
  const second = composeAnswer(other, { ...conditions, stopReason: undefined, isFallback: true });
  const trigger = { type: 'refusal', category: null };
  const block = { type: 'fallback', from: { model: request.model.id }, to: { model: next.id }, trigger };
  second.blocks.unshift({ start: block, deltas: [], final: block });
  return { message: { ...message, request: other, answer: second, refused: answer.outputTokens }, identity };
}
