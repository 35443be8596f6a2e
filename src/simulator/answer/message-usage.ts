import type { JsonObject } from '../../api-rules/json.ts';
import type { CacheUsage } from '../prompt/prompt-cache.ts';
import type { MessageRequest } from '../request/message-request.ts';
import type { ComposedAnswer } from './answer.ts';

/** An answer with what both of its forms, message and events, are written from. */
export interface AnswerMessageSource {
  id: string;
  request: MessageRequest;
  answer: ComposedAnswer;
  cache: CacheUsage;
  /** The output of the model that refused before this one answered. */
  refused?: number | undefined;
  /** Why the prompt cache could not be used, if the request asks for it. */
  diagnostics?: JsonObject | null | undefined;
  /** The service tier that its usage names. Default: `standard`. */
  tier?: 'standard' | 'batch' | undefined;
}

/** The input and the cache's part in it, as the totals of `usage` and each of its `iterations` report it. */
function createInputUsageFields({ cache }: AnswerMessageSource): JsonObject {
  return {
    input_tokens: cache.uncached,
    cache_creation_input_tokens: cache.written5m + cache.written1h,
    cache_read_input_tokens: cache.read,
  };
}

function createCacheCreationUsage({ cache }: AnswerMessageSource): JsonObject {
  return { ephemeral_5m_input_tokens: cache.written5m, ephemeral_1h_input_tokens: cache.written1h };
}

const NO_CACHE = { uncached: 0, read: 0, written5m: 0, written1h: 0 };

/** @returns the message as the totals count it: a summary is in `iterations` alone */
function removeSummaryTokens(message: AnswerMessageSource): AnswerMessageSource {
  const { answer, request } = message;
  if (request.compaction === undefined) return message;
  return { ...message, cache: NO_CACHE, answer: { ...answer, outputTokens: 0, thinkingTokens: 0 } };
}

/** Creates the usage up to now, without the fields that only the start of a stream has. */
export function createMessageDeltaUsage(message: AnswerMessageSource): JsonObject {
  const total = removeSummaryTokens(message);
  const { outputTokens, thinkingTokens, webSearches } = total.answer;
  const usage: JsonObject = {
    ...createInputUsageFields(total),
    output_tokens: outputTokens,
    output_tokens_details: { thinking_tokens: thinkingTokens },
    server_tool_use: webSearches === 0 ? null : { web_search_requests: webSearches, web_fetch_requests: 0 },
  };
  const createIterationUsage = (type: string, output_tokens: number, more: JsonObject = {}) => {
    return {
      type,
      ...createInputUsageFields(message),
      output_tokens,
      cache_creation: createCacheCreationUsage(message),
      ...more,
    };
  };
  const { request, refused, answer } = message;
  if (refused !== undefined) {
    const last = createIterationUsage('fallback_message', answer.outputTokens, { model: request.model.id });
    return { ...usage, iterations: [createIterationUsage('message', refused), last] };
  }
  return request.compaction === undefined
    ? usage
    : { ...usage, iterations: [createIterationUsage('compaction', answer.outputTokens)] };
}

/** Creates the usage at the start of a stream: the whole input, and one token of the output. */
export function createMessageStartUsage(message: AnswerMessageSource): JsonObject {
  const { outputTokens } = removeSummaryTokens(message).answer;
  return createUsageWithOutput(message, {
    output_tokens: Math.min(1, outputTokens),
    output_tokens_details: null,
    server_tool_use: null,
  });
}

/** Creates the whole usage of an answer. */
export function createFullUsage(message: AnswerMessageSource): JsonObject {
  const {
    input_tokens: _,
    cache_creation_input_tokens: __,
    cache_read_input_tokens: ___,
    ...output
  } = createMessageDeltaUsage(message);
  return createUsageWithOutput(message, output);
}

function createUsageWithOutput(message: AnswerMessageSource, output: JsonObject): JsonObject {
  const { request, tier = 'standard' } = message;
  const total = removeSummaryTokens(message);
  return {
    ...createInputUsageFields(total),
    cache_creation: createCacheCreationUsage(total),
    ...output,
    service_tier: tier,
    inference_geo: request.inferenceGeo ?? 'global',
    ...(request.speed === undefined ? {} : { speed: request.speed }),
  };
}
