/** Resumes a turn for a listener that was disconnected: it gets the events that it missed. */
import { ApiError, createInvalidRequestError } from '../../kit/http/errors.ts';
import { stringifyWithRememberedTexts } from '../../kit/json/remembered-text.ts';
import { GRACE_MS, type TurnRow } from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import {
  findNewestVisibleTurn,
  findTurnById,
  findTurnByIdempotencyKey,
  findTurnByNumber,
  findTurnByRequestId,
} from '../history/storage/turn-queries.ts';
import { TurnEventLog } from '../turn/event-log.ts';
import { restoreEndedTurn } from '../turn/restore-turn.ts';
import { isUnreportedRefusal, type TurnHandle, type TurnRunner } from '../turn/turn-handle.ts';
import { streamRedactedEvents } from '../views/redact-answer.ts';
import { isTextOnlyTurn } from '../views/redact-for.ts';
import type { TurnAnswer, TurnSummary } from '../views/turn-answer.ts';
import type { TurnRequest, TurnRequestMetadata, TurnResumeResult } from './contract.ts';
import type { ObjectContext } from './object-context.ts';
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

interface ResumeVisibilityOptions {
  shouldHideTools: boolean;
  show?: string | undefined;
}

/**
 * Resumes the events of a turn.
 *
 * @param running the turn that runs now
 * @param after the id of the last event that the listener has; without it the stream begins with the running turn's first
 * @param options.shouldHideTools whether the listener does not see tools
 * @param options.show how the listener wants to see it; undefined for as the turn was begun
 */
export function resumeTurnEvents(
  { transcript, now }: Pick<ObjectContext, 'transcript' | 'now'>,
  running: TurnRunner | undefined,
  after: string | undefined,
  options: ResumeVisibilityOptions = { shouldHideTools: false },
): TurnResumeResult {
  try {
    return resumeTurnEventsOrThrow(transcript, running, after, now(), options);
  } catch (thrown) {
    if (!(thrown instanceof ApiError)) throw thrown;
    return { kind: 'error', error: serializeApiError(thrown) };
  }
}

function resumeTurnEventsOrThrow(
  transcript: Transcript,
  running: TurnRunner | undefined,
  after: string | undefined,
  now: number,
  { shouldHideTools: hides, show }: ResumeVisibilityOptions,
): TurnResumeResult {
  const createStreamResult = (log: TurnEventLog | TurnHandle['log'], event: number): TurnResumeResult => {
    return {
      kind: 'stream',
      turn: log.id,
      body: streamRedactedEvents(log, event, { shouldHideTools: hides, textOnly: isTextOnlyTurn(log.id, show) }),
    };
  };
  const isPresent = transcript.storedProfile?.exists || running !== undefined;
  if (after === undefined) {
    if (!isPresent) return { kind: 'unknown' };
    const log = running?.turn.log;
    return log ? createStreamResult(log, 0) : { kind: 'none' };
  }
  const [, id, number] = /^([\w-]{1,64})-(\d{1,15})$/.exec(after) ?? [];
  if (id === undefined) {
    throw createInvalidRequestError(
      'Last-Event-ID: not an event id of this deployment. Send the `id` of the last event that you received.',
    );
  }
  const event = Number(number);
  if (running?.turn.row.id === id) return createStreamResult(running.turn.log, event);
  const row = findTurnById(transcript, id);
  // A failed first turn creates no conversation, but its log can still be resumed.
  if (!row && !isPresent) return { kind: 'unknown' };
  const log = row && findStoredLog(transcript, row, now);
  if (!row || !log) return row && event === row.events ? { kind: 'none' } : { kind: 'gone' };
  if (event === row.events) return { kind: 'none' };
  // A crash may have lost events that the listener has seen already. Send at least the last event, because it contains how the
  // turn ended.
  return createStreamResult(log, Math.min(event, row.events - 1));
}

/** @returns the log of a turn that has ended; undefined once it has expired: it may be gone in part */
function findStoredLog(transcript: Transcript, row: TurnRow, now: number): TurnEventLog | undefined {
  if (row.endedAt !== null && row.endedAt <= now - GRACE_MS) return undefined;
  const rows = transcript.log.countRowsOfTurn(row.seq);
  if (rows === 0 || row.outcome === null) return undefined;
  const summary: TurnSummary = { outcome: row.outcome, nanodollars: row.cost };
  return new TurnEventLog(transcript, row, { events: row.events, rows }, JSON.stringify(summary));
}

/**
 * Finds the turn that the same request began before. The turn may run, or have ended not long ago.
 *
 * @param now milliseconds since 1970
 * @throws ApiError 503 if the call is repeated after a crash and no turn was stored
 */
export function findRepeatedTurn(
  transcript: Transcript,
  { key, retried, hash, again, id }: TurnRequestMetadata,
  now: number,
): TurnRow | undefined {
  const begun = again ? findTurnByRequestId(transcript, id) : undefined;
  if (begun) return begun;
  if (again) throw createInterruptedCallError();
  if (key !== undefined) return findTurnByIdempotencyKey(transcript, key);
  if (!retried) return undefined;
  const latest = findNewestVisibleTurn(transcript);
  if (latest?.hash !== hash) return undefined;
  return latest.endedAt === null || latest.endedAt > now - GRACE_MS ? latest : undefined;
}

/**
 * Waits until the upstream has responded, or, for a caller that does not stream, until the turn has ended. @param isOwn as in
 * `follow`
 */
async function waitForTurnAnswer(runner: TurnRunner, stream: boolean, isOwn = false): Promise<TurnAnswer> {
  const { row, log } = runner.turn;
  const started = await runner.started;
  if (started.kind === 'error') return { kind: 'error', error: serializeApiError(started.error) };
  if (started.kind === 'refused')
    return { ...started, kind: 'whole', turn: row.id, trailer: runner.turn.result?.summary };
  if (stream) {
    const trailer = runner.turn.result?.summary;
    const events = log.takeComplete();
    if (events !== undefined && trailer) return { ...started, kind: 'ended', turn: row.id, events, trailer };
    const { text, after } = log.opening;
    return { ...started, turn: row.id, first: text, body: log.follow(after, isOwn) };
  }
  await runner.done;
  return createBufferedAnswer(runner.turn, started.headers);
}

/**
 * Answers the request that has begun a turn. A turn in the background is answered as soon as its request has been sent. A
 * refusal before that is the answer; a later error is reported with the turn's end.
 */
export async function answerStartedTurn(
  transcript: Transcript,
  runner: TurnRunner,
  { asked, call: { stream } }: TurnRequest,
): Promise<TurnAnswer> {
  if (!asked.background) return await waitForTurnAnswer(runner, stream, true);
  await runner.admitted;
  const { row } = runner.turn;
  if (isUnreportedRefusal(transcript, runner.turn)) return await waitForTurnAnswer(runner, true, true);
  return createAcceptedAnswer(transcript, findTurnByNumber(transcript, row.seq) ?? row);
}

/** @returns the answer 202 for a turn in the background, as it is now */
function createAcceptedAnswer(transcript: Transcript, row: TurnRow): TurnAnswer {
  const report = describeTurn(transcript, row);
  const headers = { location: `/conversations/${report.conversation}/turns/${row.id}` };
  return { kind: 'whole', turn: row.id, status: 202, headers, body: stringifyWithRememberedTexts(report) };
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
  { asked, call: { stream, hash } }: TurnRequest,
): Promise<TurnAnswer> {
  if (row.hash !== hash) throw createIdempotencyKeyReusedError();
  if (asked.background) {
    if (running?.turn.row.seq === row.seq) running.turn.isReported = true;
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
