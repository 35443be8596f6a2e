/**
 * Answers on their way between the edge and a conversation's object. Errors would lose their class, so they are plain
 * objects.
 */

import { exactDecoder } from '../../kit/http/bytes.ts';
import {
  ApiError,
  DO_NOT_RETRY,
  finalError,
  invalidRequest,
  notFound,
  retryableError,
  toApiError,
} from '../../kit/http/errors.ts';
import { writeJson } from '../../kit/json/remembered-text.ts';
import { damageOf } from '../history/storage/damaged-row.ts';
import { stoppedError } from '../turn/turn-abort.ts';
import { isAboutRequest } from '../turn/turn-ending.ts';
import type { TurnHandle } from '../turn/turn-handle.ts';
import type { PackedAnswer, TurnAnswer, WireError } from '../views/turn-answer.ts';
import type { RpcText } from './contract.ts';

/** Packs an answer so that an object's call can return it to the edge. */
export function pack(answer: TurnAnswer): PackedAnswer {
  if (answer.kind !== 'ended') return answer;
  const { events, ...rest } = answer;
  return `${JSON.stringify(rest)}\n${events}`;
}

export function unpack(packed: PackedAnswer): TurnAnswer {
  if (typeof packed !== 'string') return packed;
  const end = packed.indexOf('\n');
  const rest = JSON.parse(packed.slice(0, end)) as Omit<Extract<TurnAnswer, { kind: 'ended' }>, 'events'>;
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

/** @returns the answer for a caller who does not stream. */
export function bufferedAnswer(turn: TurnHandle, extra: Record<string, string>): TurnAnswer {
  const { result: ended, row } = turn;
  if (!ended) throw new TypeError('A turn that has not ended.');
  const { message, paused, summary } = ended;
  if (message) {
    const body = writeJson(message);
    const headers = paused === undefined ? extra : { ...extra, 'sluice-paused': paused };
    return { kind: 'whole', turn: row.id, status: 200, headers, body, trailer: summary };
  }
  const reason = ended.error ?? { type: 'api_error', message: 'This turn was interrupted.' };
  const isKept = ended.status === 'interrupted' && !ended.isUnanswered;
  const words = isKept ? `${reason.message} (What was said is kept in the conversation.)` : reason.message;
  const errorType = KNOWN_TYPES.find((type) => type === reason.type) ?? 'api_error';
  const headers = isKept ? { ...DO_NOT_RETRY, 'sluice-turn': row.id } : {};
  const type = isKept && !isAboutRequest(reason) ? 'api_error' : errorType;
  const error = ended.isStopped ? stoppedError(words) : new ApiError(type, words, { headers });
  return { kind: 'error', error: wireError(error), isEnd: !ended.isStopped };
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
export function conflict(id: string, turn: string): ApiError {
  const location = `/conversations/${id}/stream`;
  const message = `This conversation has a turn running. Follow it at GET ${location}, or stop it.`;
  return finalError('conflict_error', message, { headers: { 'sluice-turn': turn, location } });
}

/** @returns the 409 for a conversation in which the model of another question is being chosen. */
export function modelChoiceConflict(): ApiError {
  const message = 'The model for another question of this conversation is being chosen. Send yours after it.';
  return retryableError(message, undefined, { type: 'conflict_error' });
}

/** @returns the 409 for a conversation that is being copied or deleted. */
export function inTransitError(): ApiError {
  const message = 'This conversation is being copied or deleted. Try again in a moment.';
  return retryableError(message, undefined, { type: 'conflict_error' });
}

/** @returns the 409 for a repeated request whose events are deleted already. */
export function turnHasEnded(id: string, turn: string): ApiError {
  const location = `/conversations/${id}/messages`;
  const message = `This request's turn has ended; its answer is at GET ${location}.`;
  return finalError('conflict_error', message, { headers: { 'sluice-turn': turn, location } });
}

/** @returns the 503 for a call that was interrupted before it began a turn. */
export function interruptedCall(): ApiError {
  const message = 'The conversation was interrupted before this turn began. Try again.';
  return retryableError(message, 'conversation_interrupted');
}

export function turnInterrupted(): ApiError {
  return new ApiError('api_error', 'This turn was interrupted. What was said is kept; send what is next.', {
    logged: 'interrupted',
  });
}

/** @returns an error as a plain object. */
export function wireError({ type, message, status, headers, logged, upstreamSaid }: ApiError): WireError {
  return { type, message, status, headers, logged, upstreamSaid };
}

/** @returns any thrown value as the result of a call. */
export function failedRpcResult(thrown: unknown): { ok: false; error: WireError } {
  return { ok: false, error: wireError(damageOf(thrown) ?? toApiError(thrown)) };
}

/** @returns any thrown value as the answer of a turn. */
export function failedAnswer(thrown: unknown): TurnAnswer {
  return { kind: 'error', error: failedRpcResult(thrown).error };
}

/** @returns the 404 for a conversation that does not exist, or belongs to somebody else. */
export function noConversation(): ApiError {
  return notFound('There is no such conversation.');
}

/** @returns the 404 of `noConversation` as the result of a call. */
export function unknownConversation(): { ok: false; error: WireError } {
  return failedRpcResult(noConversation());
}

export function noMessage(id: string | undefined): { ok: false; error: WireError } {
  return failedRpcResult(notFound(`This conversation has no message ${JSON.stringify(id ?? '').slice(0, 300)}.`));
}

export function noTurn(id: string): { ok: false; error: WireError } {
  return failedRpcResult(notFound(`This conversation has no turn ${JSON.stringify(id).slice(0, 300)}.`));
}

export function idTaken(id: string): { ok: false; error: WireError } {
  const message = `There is a conversation ${id} already. Choose another id.`;
  return failedRpcResult(finalError('conflict_error', message));
}

/** @returns the 400 for an idempotency key that was used with another body. */
export function keyReused(): ApiError {
  return invalidRequest('idempotency-key: it was used with another body before. Send a new key with a new request.');
}
