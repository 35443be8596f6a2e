import type { JsonObject } from '../../api-rules/json.ts';
import { createSafeguardResults } from '../request/safeguards.ts';
import {
  type AnswerMessageSource,
  createFullUsage,
  createMessageDeltaUsage,
  createMessageStartUsage,
} from './message-usage.ts';

/** A server-sent event; `tokens` is the number of tokens in it. */
export interface MessageStreamEvent {
  name: string;
  data: JsonObject;
  tokens: number;
}

function createMessageEnvelope({ id, request }: AnswerMessageSource, rest: JsonObject): JsonObject {
  return { model: request.model.id, id, type: 'message', role: 'assistant', ...rest };
}

/** @returns the results of the safeguards for the answer's tool calls; nothing if none was asked for */
function createSafeguardFields({ request, answer }: AnswerMessageSource): JsonObject {
  if (request.safeguards.length === 0) return {};
  const calls = answer.blocks.flatMap(({ final }) => (final.type === 'tool_use' ? [String(final.id)] : []));
  return { safeguard_results: createSafeguardResults(request.safeguards, calls) };
}

/** @returns the fields that report which thinking of the request the API has transformed, if the answer has them */
function createTransformationFields({ request }: AnswerMessageSource): JsonObject {
  return request.transformations === undefined ? {} : { input_transformations: request.transformations };
}

/** @returns the message of a non-streaming answer */
export function createMessageBody(message: AnswerMessageSource): JsonObject {
  const { blocks, stopReason, stopSequence, stopDetails } = message.answer;
  return createMessageEnvelope(message, {
    content: blocks.map(({ final }) => final),
    container: null,
    stop_reason: stopReason,
    stop_sequence: stopSequence,
    stop_details: stopDetails,
    diagnostics: message.diagnostics ?? null,
    ...createTransformationFields(message),
    ...createSafeguardFields(message),
    usage: createFullUsage(message),
  });
}

/** @returns the events of a streamed answer, in the API's order */
export function* createMessageEvents(message: AnswerMessageSource): Generator<MessageStreamEvent> {
  const { blocks, outputTokens, stopReason, stopSequence, stopDetails } = message.answer;
  const createEvent = (name: string, data: JsonObject, tokens = 0): MessageStreamEvent => ({
    name,
    data: { type: name, ...data },
    tokens,
  });
  yield createEvent('message_start', {
    message: createMessageEnvelope(message, {
      content: [],
      container: null,
      stop_reason: null,
      stop_sequence: null,
      stop_details: null,
      diagnostics: message.diagnostics ?? null,
      ...createTransformationFields(message),
      usage: createMessageStartUsage(message),
    }),
  });
  for (const [index, { start, startTokens, deltas }] of blocks.entries()) {
    yield createEvent('content_block_start', { index, content_block: start }, startTokens);
    if (index === 0) yield createEvent('ping', {});
    for (const { delta, tokens } of deltas) yield createEvent('content_block_delta', { index, delta }, tokens);
    yield createEvent('content_block_stop', { index });
  }
  const end = {
    delta: {
      stop_reason: stopReason,
      stop_sequence: stopSequence,
      stop_details: stopDetails,
      container: null,
      ...createSafeguardFields(message),
    },
    usage: createMessageDeltaUsage(message),
  };
  // A failed summary has no content, but its tokens were generated. Delay this event by the time that they took.
  const unseen = message.request.compaction !== undefined && blocks.length === 0 ? outputTokens : 0;
  yield createEvent('message_delta', end, unseen);
  yield createEvent('message_stop', {});
}
