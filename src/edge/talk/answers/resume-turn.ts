/** Resumes a turn for a listener that was disconnected: it gets the events that it missed. */

import { ApiError, invalidRequest } from '../../kit/http/errors.ts';
import { viewOfTurn } from '../contracts/answer-view.ts';
import type { Resumed, TurnSummary } from '../contracts/conversation.ts';
import { GRACE_MS, type TurnRow } from '../storage/rows.ts';
import type { Transcript } from '../storage/transcript.ts';
import { turnWithId } from '../storage/turn-queries.ts';
import { EventLog } from '../turn/event-log.ts';
import type { Runner, RunningTurn } from '../turn/running-turn.ts';
import { wireError } from './crossing-answer.ts';
import { followed } from './hidden-answer.ts';
import type { ObjectContext } from './object-context.ts';

interface Listening {
  hides: boolean;
  show?: string | undefined;
}

/**
 * Resumes the events of a turn.
 *
 * @param running the turn that runs now
 * @param after the id of the last event that the listener has; without it the stream begins with the running turn's first
 * @param how.hides whether the listener does not see tools
 * @param how.show how the listener wants to see it; undefined for as the turn was begun
 */
export function resumeTurn(
  { transcript, now }: Pick<ObjectContext, 'transcript' | 'now'>,
  running: Runner | undefined,
  after: string | undefined,
  how: Listening = { hides: false },
): Resumed {
  try {
    return resumed(transcript, running, after, now(), how);
  } catch (thrown) {
    if (!(thrown instanceof ApiError)) throw thrown;
    return { kind: 'error', error: wireError(thrown) };
  }
}

function resumed(
  transcript: Transcript,
  running: Runner | undefined,
  after: string | undefined,
  now: number,
  { hides, show }: Listening,
): Resumed {
  const stream = (log: EventLog | RunningTurn['log'], event: number): Resumed => {
    return { kind: 'stream', turn: log.id, body: followed(log, event, { hides, view: viewOfTurn(log.id, show) }) };
  };
  const isPresent = transcript.profile?.exists || running !== undefined;
  if (after === undefined) {
    if (!isPresent) return { kind: 'unknown' };
    const log = running?.turn.log;
    return log ? stream(log, 0) : { kind: 'none' };
  }
  const [, id, number] = /^([\w-]{1,64})-(\d{1,15})$/.exec(after) ?? [];
  if (id === undefined) {
    throw invalidRequest('Last-Event-ID: not an id of an event of this edge. Send the last one that you got.');
  }
  const event = Number(number);
  if (running?.turn.row.id === id) return stream(running.turn.log, event);
  const row = turnWithId(transcript, id);
  // A failed first turn can be resumed although it has created no conversation.
  if (!row && !isPresent) return { kind: 'unknown' };
  const log = row && storedLogOf(transcript, row, now);
  if (!row || !log) return row && event === row.events ? { kind: 'none' } : { kind: 'gone' };
  if (event === row.events) return { kind: 'none' };
  // A crash may have lost events that the listener already has. It still gets the last event, which says how the turn ended.
  return stream(log, Math.min(event, row.events - 1));
}

/** @returns the log of a turn that has ended; undefined once it has expired: it may be gone in part */
export function storedLogOf(transcript: Transcript, row: TurnRow, now: number): EventLog | undefined {
  if (row.endedAt !== null && row.endedAt <= now - GRACE_MS) return undefined;
  const rows = transcript.log.count(row.seq);
  if (rows === 0 || row.outcome === null) return undefined;
  const summary: TurnSummary = { outcome: row.outcome, nanodollars: row.cost };
  return new EventLog(transcript, row, { events: row.events, rows }, JSON.stringify(summary));
}
