/** Resumes a turn for a listener that was disconnected: it gets the events that it missed. */
import { ApiError, createInvalidRequestError } from '../../kit/http/errors.ts';
import { GRACE_MS, type TurnRow } from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import { findTurnById } from '../history/storage/turn-queries.ts';
import { TurnEventLog } from '../turn/event-log.ts';
import type { TurnHandle, TurnRunner } from '../turn/turn-handle.ts';
import { streamRedactedEvents } from '../views/redact-answer.ts';
import { isTextOnlyTurn } from '../views/redact-for.ts';
import type { TurnSummary } from '../views/turn-answer.ts';
import type { TurnResumeResult } from './contract.ts';
import type { ObjectContext } from './object-context.ts';
import { serializeApiError } from './rpc-response.ts';

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
export function findStoredLog(transcript: Transcript, row: TurnRow, now: number): TurnEventLog | undefined {
  if (row.endedAt !== null && row.endedAt <= now - GRACE_MS) return undefined;
  const rows = transcript.log.countRowsOfTurn(row.seq);
  if (rows === 0 || row.outcome === null) return undefined;
  const summary: TurnSummary = { outcome: row.outcome, nanodollars: row.cost };
  return new TurnEventLog(transcript, row, { events: row.events, rows }, JSON.stringify(summary));
}
