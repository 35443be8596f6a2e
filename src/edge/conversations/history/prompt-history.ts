/** Builds the history that a prompt begins with from the stored messages. */

import type { SentHistory } from '../../claude/request/sent-history.ts';
import type { Settings } from '../../config/settings.ts';
import type { SteppedWork } from '../../kit/async/run-in-steps.ts';
import { ApiError, createTooLargeError } from '../../kit/http/errors.ts';
import { stringifyWithRememberedTexts } from '../../kit/json/remembered-text.ts';
import type { IncomingMessages } from './incoming-messages.ts';
import { removePendingCallsOfPausedAnswer } from './repair-paused.ts';
import type { ResolvedRequest } from './resolved-request.ts';
import type { CachedHistory } from './storage/history-cache.ts';
import { hasThinking, removeThinking } from './storage/message-text.ts';
import type { Transcript } from './storage/transcript.ts';
import {
  createSentHistory,
  isLongHistory,
  readHistory,
  readLongHistory,
  type StoredMessagesToSend,
} from './stored-history.ts';
import { findTurnsWithoutThinking, NO_UNBOUND_TURNS, type TurnsWithoutThinking } from './thinking.ts';
import { findFirstMessageToSend, findStartOfPrompt } from './truncate.ts';

/**
 * Reads the history that is sent, in steps if it is long.
 *
 * @returns the history, its first message (the number of a message, or a summary's id below zero), and what to cache for the
 *   next turn
 */
export function* readSentHistory(
  { profile, cached, frozen }: ResolvedRequest,
  { stored, new: messages, isPauseAbandoned }: IncomingMessages,
  { model, follows }: { model: string; follows: boolean },
  transcript: Transcript,
  { models, MAX_BODY_BYTES: limit }: Settings,
): SteppedWork<{ history: SentHistory; sentFrom: number; toCache?: CachedHistory | undefined }> {
  const { lastTurn, tail } = stored;
  const newCharacters = messages.reduce((sum, { text }) => sum + text.length, 0);
  const sentFrom = findFirstMessageToSend(transcript, profile, newCharacters, follows ? lastTurn?.sentFrom : undefined);
  const isCached =
    cached?.from === sentFrom &&
    cached.model === model &&
    (follows || !(cached.isForLoop || (lastTurn && !models.canBeSameModel(lastTurn.model, model))));
  const findUnboundTurnsOnce = () => findTurnsWithoutThinking(transcript, { from: sentFrom, model, follows }, models);
  // Do not cache a history in which the paused answer is abandoned. If this turn fails, the next one may still continue that
  // answer, so the cache must keep the stored history.
  if (isPauseAbandoned)
    return {
      history: yield* buildHistoryWithoutPause(transcript, findUnboundTurnsOnce, { sentFrom, limit }),
      sentFrom,
    };
  const { history, isForLoop } = isCached
    ? cached
    : yield* buildSentHistory(transcript, findUnboundTurnsOnce, { sentFrom, limit, readMessages: stored.history });
  const toCache = frozen && { from: sentFrom, history, model, isForLoop, tail, lastTurn, frozen };
  return { history, sentFrom, toCache };
}

/** @returns the history without the calls of its last answer that have no result */
function* buildHistoryWithoutPause(
  transcript: Transcript,
  findUnboundTurns: () => TurnsWithoutThinking,
  { sentFrom, limit }: { sentFrom: number; limit: number },
): SteppedWork<SentHistory> {
  const repaired = new Map(removePendingCallsOfPausedAnswer(transcript).map(({ seq, content }) => [seq, content]));
  const first = Math.max(findStartOfPrompt(transcript, sentFrom).from, Math.min(...repaired.keys()));
  const before = yield* buildSentHistory(transcript, findUnboundTurns, {
    sentFrom,
    limit,
    readMessages: undefined,
    to: first - 1,
  });
  const { turns } = findUnboundTurns();
  const texts = [...transcript.messages.readMessages({ from: first, sent: true })].flatMap(({ seq, turn, text }) => {
    const content = repaired.get(seq);
    if (content?.length === 0) return [];
    const rest = content ? stringifyWithRememberedTexts({ role: 'assistant', content }) : text;
    return turns.has(turn) ? removeThinking(rest) : rest;
  });
  return before.history.appendMessages(texts);
}

/**
 * Builds the history that is sent from the stored messages, in steps if it is long.
 *
 * @param sentFrom what is sent first: the number of a message, or a summary's id below zero
 * @param readMessages the messages, if they have been read; they are read again if they begin elsewhere
 * @param to the number of the last message; default: all
 * @throws ApiError 413 for a history that is too large to send
 */
export function* buildSentHistory(
  transcript: Transcript,
  findUnboundTurns: () => TurnsWithoutThinking,
  {
    sentFrom,
    limit,
    readMessages,
    to,
  }: { sentFrom: number; limit: number; readMessages: StoredMessagesToSend | undefined; to?: number },
): SteppedWork<Pick<CachedHistory, 'history' | 'isForLoop'>> {
  const { from, standIn } = findStartOfPrompt(transcript, sentFrom);
  const begins = standIn?.text ? [standIn.text] : [];
  if (isLongHistory(transcript, from)) {
    const { turns, isForLoop } = findUnboundTurns();
    const long = yield* readLongHistory(transcript, { from, to, begins }, limit, turns);
    if (long === undefined) throw createRequestTooLargeError(limit, true);
    return { history: long, isForLoop };
  }
  const history = readMessages?.from === from ? readMessages : readHistory(transcript, from, limit, to);
  if (history.isTooLong) throw createRequestTooLargeError(limit, true);
  // Skip the query if no message has thinking. In an object that has just woken up, SQLite would have to compile the statement
  // first.
  const { turns, isForLoop } = history.messages.some(({ text }) => hasThinking(text))
    ? findUnboundTurns()
    : NO_UNBOUND_TURNS;
  return { history: createSentHistory(history, turns, begins), isForLoop };
}

/**
 * Makes the 413 for a request that is too large to be sent.
 *
 * @param hasHistory whether the request includes a history. Then a smaller request does not help, and the error explains what
 *   does
 */
export function createRequestTooLargeError(limitBytes: number, hasHistory: boolean): ApiError {
  if (!hasHistory) return createTooLargeError(limitBytes);
  return new ApiError(
    'request_too_large',
    `The history of this conversation is larger than the ${limitBytes} bytes that one request can have. ` +
      'Rewind it (POST /conversations/:id/rewind), fork it from an earlier message (POST /conversations/:id/fork with `at`), ' +
      'or leave out its oldest turns with PATCH /conversations/:id and {"history":{"max_tokens":…,"strategy":"truncate"}}.',
  );
}
