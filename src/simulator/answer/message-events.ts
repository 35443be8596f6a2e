import type { JsonObject } from '../request/json.ts';
import { createSafeguardResults } from '../request/safeguards.ts';
import { type AnsweredMessage, usageAtEndOf, usageAtStartOf, wholeUsageOf } from './message-usage.ts';

/** A server-sent event; `tokens` is the number of tokens in it. */
export interface MessageEvent {
  name: string;
  data: JsonObject;
  tokens: number;
}

function createEnvelope({ id, request }: AnsweredMessage, rest: JsonObject): JsonObject {
  return { model: request.model.id, id, type: 'message', role: 'assistant', ...rest };
}

/** @returns the results of the safeguards for the answer's tool calls; nothing if none was asked for */
function safeguardFields({ request, answer }: AnsweredMessage): JsonObject {
  if (request.safeguards.length === 0) return {};
  const calls = answer.blocks.flatMap(({ final }) => (final.type === 'tool_use' ? [String(final.id)] : []));
  return { safeguard_results: createSafeguardResults(request.safeguards, calls) };
}

/** @returns which thinking of the request was made elsewhere, if the answer tells it */
function transformationFields({ request }: AnsweredMessage): JsonObject {
  return request.transformations === undefined ? {} : { input_transformations: request.transformations };
}

/** @returns the message of a non-streaming answer */
export function toMessageBody(message: AnsweredMessage): JsonObject {
  const { blocks, stopReason, stopSequence, stopDetails } = message.answer;
  return createEnvelope(message, {
    content: blocks.map(({ final }) => final),
    container: null,
    stop_reason: stopReason,
    stop_sequence: stopSequence,
    stop_details: stopDetails,
    diagnostics: null,
    ...transformationFields(message),
    ...safeguardFields(message),
    usage: wholeUsageOf(message),
  });
}

/** @returns the events of a streamed answer, in the API's order */
export function* createMessageEvents(message: AnsweredMessage): Generator<MessageEvent> {
  const { blocks, outputTokens, stopReason, stopSequence, stopDetails } = message.answer;
  const event = (name: string, data: JsonObject, tokens = 0): MessageEvent => ({
    name,
    data: { type: name, ...data },
    tokens,
  });
  yield event('message_start', {
    message: createEnvelope(message, {
      content: [],
      container: null,
      stop_reason: null,
      stop_sequence: null,
      stop_details: null,
      diagnostics: null,
      ...transformationFields(message),
      usage: usageAtStartOf(message),
    }),
  });
  for (const [index, { start, startTokens, deltas }] of blocks.entries()) {
    yield event('content_block_start', { index, content_block: start }, startTokens);
    if (index === 0) yield event('ping', {});
    for (const { delta, tokens } of deltas) yield event('content_block_delta', { index, delta }, tokens);
    yield event('content_block_stop', { index });
  }
  const end = {
    delta: {
      stop_reason: stopReason,
      stop_sequence: stopSequence,
      stop_details: stopDetails,
      container: null,
      ...safeguardFields(message),
    },
    usage: usageAtEndOf(message),
  };
  // A summary that could not be written took its time, too.
  const unseen = message.request.compaction !== undefined && blocks.length === 0 ? outputTokens : 0;
  yield event('message_delta', end, unseen);
  yield event('message_stop', {});
}
