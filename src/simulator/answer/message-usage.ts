import type { CacheUsage } from '../prompt/prompt-cache.ts';
import type { JsonObject } from '../request/json.ts';
import type { MessageRequest } from '../request/message-request.ts';
import type { Answer } from './answer.ts';

/** An answer with what both of its forms, message and events, are written from. */
export interface AnsweredMessage {
  id: string;
  request: MessageRequest;
  answer: Answer;
  cache: CacheUsage;
  /** The output of the model that refused before this one answered. */
  refused?: number | undefined;
  /** The service tier that its usage names. Default: `standard`. */
  tier?: 'standard' | 'batch' | undefined;
}

/** The input and the cache's part in it, as the totals of `usage` and each of its `iterations` tell it. */
function inputCounts({ cache }: AnsweredMessage): JsonObject {
  return {
    input_tokens: cache.uncached,
    cache_creation_input_tokens: cache.written5m + cache.written1h,
    cache_read_input_tokens: cache.read,
  };
}

function cacheCreation({ cache }: AnsweredMessage): JsonObject {
  return { ephemeral_5m_input_tokens: cache.written5m, ephemeral_1h_input_tokens: cache.written1h };
}

const NO_CACHE = { uncached: 0, read: 0, written5m: 0, written1h: 0 };

/** @returns the message as the totals count it: a summary is in `iterations` alone */
function counted(message: AnsweredMessage): AnsweredMessage {
  const { answer, request } = message;
  if (request.compaction === undefined) return message;
  return { ...message, cache: NO_CACHE, answer: { ...answer, outputTokens: 0, thinkingTokens: 0 } };
}

/** Tells what was used up to now, without what only the start of a stream tells. */
export function usageAtEnd(message: AnsweredMessage): JsonObject {
  const total = counted(message);
  const { outputTokens, thinkingTokens, webSearches } = total.answer;
  const usage: JsonObject = {
    ...inputCounts(total),
    output_tokens: outputTokens,
    output_tokens_details: { thinking_tokens: thinkingTokens },
    server_tool_use: webSearches === 0 ? null : { web_search_requests: webSearches, web_fetch_requests: 0 },
  };
  const step = (type: string, output_tokens: number, more: JsonObject = {}) => {
    return { type, ...inputCounts(message), output_tokens, cache_creation: cacheCreation(message), ...more };
  };
  const { request, refused, answer } = message;
  if (refused !== undefined) {
    const last = step('fallback_message', answer.outputTokens, { model: request.model.id });
    return { ...usage, iterations: [step('message', refused), last] };
  }
  return request.compaction === undefined ? usage : { ...usage, iterations: [step('compaction', answer.outputTokens)] };
}

/** Tells what was used at the start of a stream: the whole input, and one token of the output. */
export function usageAtStart(message: AnsweredMessage): JsonObject {
  const { outputTokens } = counted(message).answer;
  return completed(message, {
    output_tokens: Math.min(1, outputTokens),
    output_tokens_details: null,
    server_tool_use: null,
  });
}

/** Tells what an answer used, all in one. */
export function wholeUsage(message: AnsweredMessage): JsonObject {
  const {
    input_tokens: _,
    cache_creation_input_tokens: __,
    cache_read_input_tokens: ___,
    ...output
  } = usageAtEnd(message);
  return completed(message, output);
}

function completed(message: AnsweredMessage, output: JsonObject): JsonObject {
  const { request, tier = 'standard' } = message;
  const total = counted(message);
  return {
    ...inputCounts(total),
    cache_creation: cacheCreation(total),
    ...output,
    service_tier: tier,
    inference_geo: request.inferenceGeo ?? 'global',
    ...(request.speed === undefined ? {} : { speed: request.speed }),
  };
}
