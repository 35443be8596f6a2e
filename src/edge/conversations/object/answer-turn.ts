/** Answers the request for a turn: one that begins it, and one that repeats the request of an earlier turn. */
import { stringifyWithRememberedTexts } from '../../kit/json/remembered-text.ts';
import { GRACE_MS, type TurnRow } from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import {
  findNewestVisibleTurn,
  findTurnByIdempotencyKey,
  findTurnByNumber,
  findTurnByRequestId,
} from '../history/storage/turn-queries.ts';
import { restoreEndedTurn } from '../turn/restore-turn.ts';
import { isUnreportedRejection, type TurnRunner } from '../turn/turn-handle.ts';
import type { TurnAnswer } from '../views/turn-answer.ts';
import type { TurnRequest, TurnRequestMetadata } from './contract.ts';
import type { ObjectContext } from './object-context.ts';
import { findStoredLog } from './resume-turn.ts';
import {
  createBufferedAnswer,
  createCopyInProgressError,
  createIdempotencyKeyReusedError,
  createInterruptedCallError,
  createTurnEventsExpiredError,
  createTurnRunningError,
  serializeApiError,
} from './rpc-response.ts';
import { describeTurn } from './turn-report.ts';

/**
 * Finds the turn that the same request began before. The turn may run, or have ended not long ago.
 *
 * @param now milliseconds since 1970
 * @throws ApiError 503 if the call is repeated after a crash and no turn was stored
 */
export function findRepeatedTurn(
  transcript: Transcript,
  { key, isClientRetry, hash, isResent, id }: TurnRequestMetadata,
  now: number,
): TurnRow | undefined {
  const begun = isResent ? findTurnByRequestId(transcript, id) : undefined;
  if (begun) return begun;
  if (isResent) throw createInterruptedCallError();
  if (key !== undefined) return findTurnByIdempotencyKey(transcript, key);
  if (!isClientRetry) return undefined;
  const latest = findNewestVisibleTurn(transcript);
  if (latest?.hash !== hash) return undefined;
  return latest.endedAt === null || latest.endedAt > now - GRACE_MS ? latest : undefined;
}

/**
 * Waits until the upstream has responded, or, for a caller that does not stream, until the turn has ended.
 *
 * @param isOwn whether the caller has begun the turn. Then it gets the stream even if too many listeners follow the conversation
 */
async function waitForTurnAnswer(runner: TurnRunner, stream: boolean, isOwn = false): Promise<TurnAnswer> {
  const { row, log } = runner.turn;
  const started = await runner.upstreamAnswered;
  if (started.kind === 'error') return { kind: 'error', error: serializeApiError(started.error) };
  if (started.kind === 'rejected')
    return { ...started, kind: 'response', turn: row.id, trailer: runner.turn.result?.summary };
  if (stream) {
    const trailer = runner.turn.result?.summary;
    const events = log.takeComplete();
    if (events !== undefined && trailer) return { ...started, kind: 'complete_stream', turn: row.id, events, trailer };
    const { text, after } = log.shownInMemory;
    return { ...started, turn: row.id, first: text, body: log.follow(after, isOwn) };
  }
  await runner.done;
  return createBufferedAnswer(runner.turn, started.headers);
}

/**
 * Answers the request that has begun a turn. A turn in the background is answered as soon as its request has been sent. A
 * rejection before that is the answer; a later error is reported with the turn's end.
 */
export async function answerStartedTurn(
  transcript: Transcript,
  runner: TurnRunner,
  { edgeOptions, call: { stream } }: TurnRequest,
): Promise<TurnAnswer> {
  if (!edgeOptions.background) return await waitForTurnAnswer(runner, stream, true);
  await runner.requestSent;
  const { row } = runner.turn;
  if (isUnreportedRejection(transcript, runner.turn)) return await waitForTurnAnswer(runner, true, true);
  return createAcceptedAnswer(transcript, findTurnByNumber(transcript, row.seq) ?? row);
}

/** @returns the answer 202 for a turn in the background, as it is now */
function createAcceptedAnswer(transcript: Transcript, row: TurnRow): TurnAnswer {
  const report = describeTurn(transcript, row);
  const headers = { location: `/conversations/${report.conversation}/turns/${row.id}` };
  return { kind: 'response', turn: row.id, status: 202, headers, body: stringifyWithRememberedTexts(report) };
}

/**
 * Answers a repeated request from the turn that it began before.
 *
 * @param running the turn that runs now: this one or another
 * @throws ApiError 400 if the body differs from the first one, 409 if the turn's events are already deleted
 */
export async function answerRepeatedRequest(
  { transcript, now }: Pick<ObjectContext, 'transcript' | 'now'>,
  running: TurnRunner | undefined,
  row: TurnRow,
  { edgeOptions, call: { stream, hash } }: TurnRequest,
): Promise<TurnAnswer> {
  if (row.hash !== hash) throw createIdempotencyKeyReusedError();
  if (edgeOptions.background) {
    if (running?.turn.row.seq === row.seq) {
      // Wait until all messages are stored, because the response says that the turn continues: a crash before that ends it.
      if (running.messagesStored !== undefined) await running.messagesStored;
      if (isUnreportedRejection(transcript, running.turn)) return await waitForTurnAnswer(running, true);
      running.turn.isReported = true;
    }
    return createAcceptedAnswer(transcript, row);
  }
  if (running?.turn.row.seq === row.seq) return await waitForTurnAnswer(running, stream);
  const stored = findTurnByNumber(transcript, row.seq);
  const log = stored && findStoredLog(transcript, stored, now());
  if (!stored || stored.status === 'failed' || !log)
    throw createTurnEventsExpiredError(transcript.storedProfile?.id ?? '', row.id);
  const requestId = stored.outcome?.upstream_request_id;
  const headers: Record<string, string> = requestId === undefined ? {} : { 'request-id': requestId };
  if (stream) return { kind: 'stream', turn: row.id, headers, body: log.follow(0) };
  return createBufferedAnswer(restoreEndedTurn(transcript, stored), headers);
}

/** @throws ApiError 409 while a turn runs, and while the conversation is copied or deleted */
export function requireIdleConversation(
  transcript: Transcript,
  running: TurnRunner | undefined,
  isInTransit: boolean,
): void {
  if (running) throw createTurnRunningError(transcript.storedProfile?.id ?? '', running.turn.row.id);
  if (isInTransit) throw createCopyInProgressError();
}
