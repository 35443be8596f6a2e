/**
 * Answers on their way between the edge and a conversation's object. Errors would lose their class, so they are plain
 * objects.
 */

import { exactDecoder } from '../../kit/http/bytes.ts';
import {
  ApiError,
  createInvalidRequestError,
  createNonRetryableError,
  createNotFoundError,
  createRetryableError,
  DO_NOT_RETRY,
  toApiError,
} from '../../kit/http/errors.ts';
import { stringifyWithRememberedTexts } from '../../kit/json/remembered-text.ts';
import { findDamageInError } from '../history/storage/damaged-row.ts';
import { createTurnStoppedError } from '../turn/turn-abort.ts';
import { isRequestError } from '../turn/turn-ending.ts';
import type { TurnHandle } from '../turn/turn-handle.ts';
import type { PackedTurnAnswer, SerializedApiError, TurnAnswer } from '../views/turn-answer.ts';
import type { RpcText } from './contract.ts';

/** Packs an answer so that an object's call can return it to the edge. */
export function packTurnAnswer(answer: TurnAnswer): PackedTurnAnswer {
  if (answer.kind !== 'complete_stream') return answer;
  const { events, ...rest } = answer;
  return `${JSON.stringify(rest)}\n${events}`;
}

export function unpackTurnAnswer(packed: PackedTurnAnswer): TurnAnswer {
  if (typeof packed !== 'string') return packed;
  const end = packed.indexOf('\n');
  const rest = JSON.parse(packed.slice(0, end)) as Omit<Extract<TurnAnswer, { kind: 'complete_stream' }>, 'events'>;
  return { ...rest, events: packed.slice(end + 1) };
}

/** A longer text goes as a stream. */
const MAX_RPC_CHARACTERS = 4 * 1024 * 1024;

/** @returns a text of any length, in a form that an object's call can carry. */
export function toRpcText(text: string): RpcText {
  return text.length <= MAX_RPC_CHARACTERS ? text : new Blob([text]).stream();
}

/** Reads a text that an object's call has returned. */
export async function readRpcText(crossed: RpcText): Promise<string> {
  return typeof crossed === 'string' ? crossed : exactDecoder.decode(await new Response(crossed).arrayBuffer());
}

/** @returns the response for a caller that does not stream. */
export function createBufferedAnswer(turn: TurnHandle, extra: Record<string, string>): TurnAnswer {
  const { result: ended, row } = turn;
  if (!ended) throw new TypeError('The turn has not ended, so it has no response yet.');
  const { message, paused, summary } = ended;
  if (message) {
    const body = stringifyWithRememberedTexts(message);
    const headers = paused === undefined ? extra : { ...extra, 'sluice-paused': paused };
    return { kind: 'response', turn: row.id, status: 200, headers, body, trailer: summary };
  }
  const reason = ended.error ?? {
    type: 'api_error',
    message: 'This turn was interrupted. Send a message to continue.',
  };
  const isKept = ended.status === 'interrupted' && !ended.isUnanswered;
  const words = isKept ? `${reason.message} (The conversation keeps the response so far.)` : reason.message;
  const errorType = KNOWN_TYPES.find((type) => type === reason.type) ?? 'api_error';
  const headers = isKept ? { ...DO_NOT_RETRY, 'sluice-turn': row.id } : {};
  const type = isKept && !isRequestError(reason) ? 'api_error' : errorType;
  const error = ended.isStopped ? createTurnStoppedError(words) : new ApiError(type, words, { headers });
  return { kind: 'error', error: serializeApiError(error), isEnd: !ended.isStopped };
}

/** The upstream's error types that are passed to the caller. Others have no HTTP status here. */
const KNOWN_TYPES = [
  'invalid_request_error',
  'not_found_error',
  'request_too_large',
  'rate_limit_error',
  'api_error',
  'timeout_error',
  'overloaded_error',
] as const;

/** @returns the 409 for a conversation that has a turn running. */
export function createTurnRunningError(id: string, turn: string): ApiError {
  const location = `/conversations/${id}/stream`;
  const message = `This conversation has a turn running. Follow it at GET ${location}, or stop it.`;
  return createNonRetryableError('conflict_error', message, { headers: { 'sluice-turn': turn, location } });
}

/** @returns the 409 for a conversation in which the model of another question is being chosen. */
export function createModelChoiceRunningError(): ApiError {
  const message = 'Another message of this conversation is waiting for its model. Try again in a moment.';
  return createRetryableError(message, undefined, { type: 'conflict_error' });
}

/** @returns the 409 for a conversation that is being copied or deleted. */
export function createCopyInProgressError(): ApiError {
  const message = 'This conversation is being copied or deleted. Try again in a moment.';
  return createRetryableError(message, undefined, { type: 'conflict_error' });
}

/** @returns the 409 for a repeated request whose events are deleted already. */
export function createTurnEventsExpiredError(id: string, turn: string): ApiError {
  const location = `/conversations/${id}/messages`;
  const message = `The turn of this request has ended. Read the response with GET ${location}.`;
  return createNonRetryableError('conflict_error', message, { headers: { 'sluice-turn': turn, location } });
}

/** @returns the 503 for a call that was interrupted before it began a turn. */
export function createInterruptedCallError(): ApiError {
  const message = 'The conversation was interrupted before this turn began. Try again.';
  return createRetryableError(message, 'conversation_interrupted');
}

export function createTurnInterruptedError(): ApiError {
  return new ApiError(
    'api_error',
    'This turn was interrupted. The conversation keeps the text so far; send your next message.',
    {
      logged: 'interrupted',
    },
  );
}

/** @returns an error as a plain object. */
export function serializeApiError({
  type,
  message,
  status,
  headers,
  logged,
  upstreamSaid,
}: ApiError): SerializedApiError {
  return { type, message, status, headers, logged, upstreamSaid };
}

/** @returns any thrown value as the result of a call. */
export function toFailedResult(thrown: unknown): { ok: false; error: SerializedApiError } {
  return { ok: false, error: serializeApiError(findDamageInError(thrown) ?? toApiError(thrown)) };
}

/** @returns any thrown value as the answer of a turn. */
export function toFailedTurnAnswer(thrown: unknown): TurnAnswer {
  return { kind: 'error', error: toFailedResult(thrown).error };
}

/** @returns the 404 for a conversation that does not exist or belongs to another account. */
export function createConversationNotFoundError(): ApiError {
  return createNotFoundError('This conversation does not exist. Check its id and the account.');
}

/** @returns the 404 of `createConversationNotFoundError` as the result of a call. */
export function createConversationNotFoundResult(): { ok: false; error: SerializedApiError } {
  return toFailedResult(createConversationNotFoundError());
}

export function createMessageNotFoundResult(id: string | undefined): { ok: false; error: SerializedApiError } {
  return toFailedResult(
    createNotFoundError(
      `This conversation has no message ${JSON.stringify(id ?? '').slice(0, 300)}. Its messages are at GET /conversations/:id/messages.`,
    ),
  );
}

export function createTurnNotFoundResult(id: string): { ok: false; error: SerializedApiError } {
  return toFailedResult(
    createNotFoundError(`This conversation has no turn ${JSON.stringify(id).slice(0, 300)}. Check the id.`),
  );
}

export function createIdTakenResult(id: string): { ok: false; error: SerializedApiError } {
  const message = `The conversation ${id} already exists. Choose another id.`;
  return toFailedResult(createNonRetryableError('conflict_error', message));
}

/** @returns the 400 for an idempotency key that was used with another body. */
export function createIdempotencyKeyReusedError(): ApiError {
  return createInvalidRequestError(
    'idempotency-key: was already used with another body. Send a new key with a new request.',
  );
}
