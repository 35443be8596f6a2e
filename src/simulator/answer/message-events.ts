import type { CacheUsage } from '../prompt/prompt-cache.ts';
import type { JsonObject } from '../request/json.ts';
import type { MessageRequest } from '../request/message-request.ts';
import { safeguardResults } from '../request/safeguards.ts';
import type { Answer } from './answer.ts';

/** An answer with what both of its forms, message and events, are written from. */
export interface AnsweredMessage {
  id: string;
  request: MessageRequest;
  answer: Answer;
  cache: CacheUsage;
  /** The service tier that its usage names. Default: `standard`. */
  tier?: 'standard' | 'batch' | undefined;
}

/** A server-sent event; `tokens` is the number of tokens in it. */
export interface MessageEvent {
  name: string;
  data: JsonObject;
  tokens: number;
}

function inputUsage({ cache }: AnsweredMessage): JsonObject {
  return {
    input_tokens: cache.uncached,
    cache_creation_input_tokens: cache.written5m + cache.written1h,
    cache_read_input_tokens: cache.read,
  };
}

function usage(message: AnsweredMessage, output: JsonObject): JsonObject {
  const { cache, request, tier = 'standard' } = message;
  return {
    ...inputUsage(message),
    cache_creation: { ephemeral_5m_input_tokens: cache.written5m, ephemeral_1h_input_tokens: cache.written1h },
    ...output,
    service_tier: tier,
    inference_geo: request.inferenceGeo ?? 'global',
    ...(request.speed === undefined ? {} : { speed: request.speed }),
  };
}

function outputUsage({ answer }: AnsweredMessage): JsonObject {
  const { outputTokens, thinkingTokens, webSearches } = answer;
  return {
    output_tokens: outputTokens,
    output_tokens_details: { thinking_tokens: thinkingTokens },
    server_tool_use: webSearches === 0 ? null : { web_search_requests: webSearches, web_fetch_requests: 0 },
  };
}

function envelope({ id, request }: AnsweredMessage, rest: JsonObject): JsonObject {
  return { model: request.model.id, id, type: 'message', role: 'assistant', ...rest };
}

/** @returns the results of the safeguards for the answer's tool calls; nothing if none was asked for */
function safeguarded({ request, answer }: AnsweredMessage): JsonObject {
  if (request.safeguards.length === 0) return {};
  const calls = answer.blocks.flatMap(({ final }) => (final.type === 'tool_use' ? [String(final.id)] : []));
  return { safeguard_results: safeguardResults(request.safeguards, calls) };
}

/** @returns which thinking of the request was made elsewhere, if the answer tells it */
function transformed({ request }: AnsweredMessage): JsonObject {
  return request.transformations === undefined ? {} : { input_transformations: request.transformations };
}

/** @returns the message of a non-streaming answer */
export function messageBody(message: AnsweredMessage): JsonObject {
  const { blocks, stopReason, stopSequence, stopDetails } = message.answer;
  return envelope(message, {
    content: blocks.map(({ final }) => final),
    container: null,
    stop_reason: stopReason,
    stop_sequence: stopSequence,
    stop_details: stopDetails,
    diagnostics: null,
    ...transformed(message),
    ...safeguarded(message),
    usage: usage(message, outputUsage(message)),
  });
}

/** @returns the events of a streamed answer, in the API's order */
export function* messageEvents(message: AnsweredMessage): Generator<MessageEvent> {
  const { blocks, outputTokens, stopReason, stopSequence, stopDetails } = message.answer;
  const event = (name: string, data: JsonObject, tokens = 0): MessageEvent => ({
    name,
    data: { type: name, ...data },
    tokens,
  });
  const soFar = {
    output_tokens: Math.min(1, outputTokens),
    output_tokens_details: { thinking_tokens: 0 },
    server_tool_use: null,
  };
  yield event('message_start', {
    message: envelope(message, {
      content: [],
      container: null,
      stop_reason: null,
      stop_sequence: null,
      stop_details: null,
      diagnostics: null,
      ...transformed(message),
      usage: usage(message, soFar),
    }),
  });
  for (const [index, { start, deltas }] of blocks.entries()) {
    yield event('content_block_start', { index, content_block: start });
    if (index === 0) yield event('ping', {});
    for (const { delta, tokens } of deltas) yield event('content_block_delta', { index, delta }, tokens);
    yield event('content_block_stop', { index });
  }
  yield event('message_delta', {
    delta: {
      stop_reason: stopReason,
      stop_sequence: stopSequence,
      stop_details: stopDetails,
      container: null,
      ...safeguarded(message),
    },
    usage: { ...inputUsage(message), ...outputUsage(message) },
  });
  yield event('message_stop', {});
}
