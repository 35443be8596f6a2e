/** Answers from a turn that runs or has ended: to the request that began it, to the same request again, to a resume. */

import { revoked } from '../accounts/admission/ask-account.ts';
import { callAccount } from '../durable/call-account.ts';
import type { Resumed, TurnAnswer, TurnRequest, TurnSummary } from '../durable/contracts/conversation.ts';
import { invalidRequest } from '../http/errors.ts';
import type { Identity } from '../identity/caller.ts';
import { GRACE_MS } from './maintenance.ts';
import type { ObjectContext } from './object-context.ts';
import type { TurnRow } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';
import { latestTurn, turnAt, turnOfRequest, turnWithId, turnWithKey } from './storage/turn-queries.ts';
import { EventLog } from './turn/event-log.ts';
import { restoreEnded } from './turn/restore-turn.ts';
import type { TurnRunner } from './turn/turn-runner.ts';
import { bufferedAnswer, ended, interruptedCall, wireError } from './turn-answer.ts';

/** Asks the account whether a credential is revoked, for what is answered without an admission. @throws ApiError 401 if so */
export async function refuseRevokedCaller(
  { env, settings }: Pick<ObjectContext, 'env' | 'settings'>,
  identity: Identity,
): Promise<void> {
  const { token } = identity;
  if (!token) return;
  const seen = { jti: token.jti, iat: token.issued_at, exp: token.expires_at };
  const request = { identity, accounts: env, settings: settings() };
  if (await callAccount(request, (account) => account.isRevoked(seen))) throw revoked();
}

/**
 * Finds the turn that the same request began before: one that runs, or one that ended not long ago.
 *
 * @param now milliseconds since 1970
 * @throws ApiError 503 where the call is repeated after a crash and has left no turn
 */
export function findRepeatedTurn(
  transcript: Transcript,
  { key, retried, hash, again, requestId }: TurnRequest,
  now: number,
): TurnRow | undefined {
  const begun = again ? turnOfRequest(transcript, requestId) : undefined;
  if (begun) return begun;
  if (again) throw interruptedCall();
  if (key !== undefined) return turnWithKey(transcript, key);
  if (!retried) return undefined;
  const latest = latestTurn(transcript);
  if (!latest || latest.status === 'failed' || latest.hash !== hash) return undefined;
  return latest.endedAt === null || latest.endedAt > now - GRACE_MS ? latest : undefined;
}

/** Waits until the upstream has answered, and for a caller who does not stream until the turn has ended. */
export async function answerOf(runner: TurnRunner, stream: boolean): Promise<TurnAnswer> {
  const { row, log } = runner.turn;
  const started = await runner.started;
  if (started.kind === 'error') return { kind: 'error', error: wireError(started.error) };
  if (started.kind === 'refused') return { ...started, kind: 'whole', turn: row.id };
  if (stream) {
    const events = log.completeText;
    const trailer = runner.turn.ended?.summary;
    if (events !== undefined && trailer) return { ...started, kind: 'ended', turn: row.id, events, trailer };
    const { text, after } = log.opening;
    return { ...started, turn: row.id, first: text, body: log.follow(after) };
  }
  await runner.done;
  return bufferedAnswer(runner.turn, started.headers);
}

/**
 * Answers a repeated request from the turn that it began before.
 *
 * @param running the turn that runs now, whether it is this one or another
 * @throws ApiError 409 where the turn's events are deleted already
 */
export async function attachTo(
  transcript: Transcript,
  running: TurnRunner | undefined,
  row: TurnRow,
  stream: boolean,
): Promise<TurnAnswer> {
  if (running?.turn.row.seq === row.seq) return await answerOf(running, stream);
  const stored = turnAt(transcript, row.seq);
  const log = stored && storedLogOf(transcript, stored);
  if (!stored || stored.status === 'failed' || !log) throw ended(transcript.profile?.id ?? '', row.id);
  const requestId = stored.outcome?.upstream_request_id;
  const headers: Record<string, string> = requestId === undefined ? {} : { 'request-id': requestId };
  if (stream) return { kind: 'stream', turn: row.id, headers, body: log.follow(0) };
  return bufferedAnswer(restoreEnded(transcript, stored), headers);
}

/**
 * Resumes the events of a turn.
 *
 * @param running the turn that runs now
 * @param after the id of the last event that the listener has; without it the stream begins at the running turn's first
 */
export function resumeTurn(
  transcript: Transcript,
  running: TurnRunner | undefined,
  after: string | undefined,
): Resumed {
  const isPresent = transcript.profile?.exists || running !== undefined;
  if (after === undefined) {
    if (!isPresent) return { kind: 'unknown' };
    const log = running?.turn.log;
    return log ? { kind: 'stream', turn: log.id, body: log.follow(0) } : { kind: 'none' };
  }
  const [, id, number] = /^([\w-]{1,64})-(\d{1,15})$/.exec(after) ?? [];
  if (id === undefined) {
    const error = invalidRequest('Last-Event-ID: not an id of an event of this edge. Send the last one that you got.');
    return { kind: 'error', error: wireError(error) };
  }
  const event = Number(number);
  if (running?.turn.row.id === id) return { kind: 'stream', turn: id, body: running.turn.log.follow(event) };
  const row = turnWithId(transcript, id);
  // A failed first turn can be resumed although it has created no conversation.
  if (!row && !isPresent) return { kind: 'unknown' };
  const log = row && storedLogOf(transcript, row);
  if (!row || !log) return row && event === row.events ? { kind: 'none' } : { kind: 'gone' };
  if (event === row.events) return { kind: 'none' };
  // A crash may have lost events that the listener has. It still gets the last one, which says how the turn ended.
  return { kind: 'stream', turn: id, body: log.follow(Math.min(event, row.events - 1)) };
}

/** @returns the log of a turn that has ended; undefined once its rows are deleted */
function storedLogOf(transcript: Transcript, row: TurnRow): EventLog | undefined {
  const rows = transcript.log.count(row.seq);
  if (rows === 0 || row.outcome === null) return undefined;
  const summary: TurnSummary = { outcome: row.outcome, nanodollars: row.cost };
  return new EventLog(transcript, row, { events: row.events, rows }, JSON.stringify(summary));
}
