/** Ends a run: shows its last events, and stores its own row. */

import { type RequestOutcome, unanswered } from '../../claude/outcome.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { ToldUsage } from '../../claude/usage/told-usage.ts';
import { encoder } from '../../kit/http/bytes.ts';
import { errorBody, toApiError } from '../../kit/http/errors.ts';
import { readEvent } from '../../kit/json/block-texts.ts';
import { isObject, type Json } from '../../kit/json/object.ts';
import { FrameReader } from '../../kit/sse/frames.ts';
import { endRemarks } from '../../money/admission/answer-end.ts';
import type { TurnRow, TurnStatus } from '../../talk/storage/rows.ts';
import { NO_ANSWER } from '../../talk/storage/tables.ts';
import type { Transcript } from '../../talk/storage/transcript.ts';
import { turnsOfRun } from '../../talk/storage/turn-queries.ts';
import type { EventLog } from '../../talk/turn/event-log.ts';
import { MessageBuilder } from '../../talk/turn/message-builder.ts';
import type { RunningTurn } from '../../talk/turn/running-turn.ts';
import { type Ended, errorIn } from '../../talk/turn/turn-ending.ts';
import type { PauseReason } from './limits.ts';
import type { ShownRun } from './shown-run.ts';
import { summedUsage } from './summed-usage.ts';
import { failedCall } from './tool-result.ts';

/** A run, as far as its steps have come. */
export interface RunTurn extends RunningTurn {
  readonly log: EventLog;
  ended: Ended | undefined;
  /** The usage of each step, as the API has reported it. */
  usages: Json[];
  /** The last step: its outcome, and its `message_delta`. */
  last?: { outcome: RequestOutcome; delta: Json | undefined };
  /** Whether a step has become part of the history. */
  isCommitted?: boolean;
  /** Whether only its question is kept. */
  isUnanswered?: boolean | undefined;
  /** The number of the step whose calls it has taken up, if it goes on after approvals. */
  continues?: number;
  /** Whether the settlement of the last step did not report the conversation. */
  isUnreported?: boolean;
}

/** How a run ends. */
export type EndOfRun =
  | { kind: 'complete' | 'stopped' }
  | { kind: 'paused'; reason: PauseReason }
  /** `data` is the `error` event as a step has shown it. */
  | { kind: 'error'; error: unknown; data?: string | undefined; isStopped?: boolean | undefined };

interface Ending {
  transcript: Transcript;
  shown: ShownRun;
  spent: Nanodollars;
  now: number;
  requestId: string;
}

/** Ends a run: shows its end and stores it, without waiting in between. */
export function endRun(turn: RunTurn, end: EndOfRun, { transcript, shown, spent, now, requestId }: Ending): void {
  const { log, row, last, usages } = turn;
  let error: Ended['error'];
  if (end.kind === 'error') {
    const data = end.data ?? JSON.stringify(errorBody(saidError(end.error), requestId));
    log.add({ event: 'error', data });
    error = errorIn(data);
  } else {
    const waits = end.kind === 'paused' && end.reason === 'approval';
    for (const id of waits ? [] : shown.unanswered) shown.showResult(id, failedCall('stopped'));
    const { delta = {}, ...others } = last?.delta ?? {};
    const reason =
      end.kind === 'complete'
        ? {}
        : { stop_reason: end.kind === 'paused' ? 'pause_turn' : 'end_turn', stop_sequence: null };
    const remark = end.kind === 'paused' ? `: sluice-paused=${end.reason}\n\n` : '';
    // A run that ends without a step of its own leaves the calls of the step before it to the client.
    const ownReason = turn.continues !== undefined && last === undefined ? 'tool_use' : null;
    const stopReason = { stop_reason: ownReason, stop_sequence: null, ...(isObject(delta) ? delta : {}), ...reason };
    shown.add('message_delta', { ...others, delta: stopReason, usage: summedUsage(usages) }, remark);
    shown.add('message_stop', {}, endRemarks(spent, end.kind === 'stopped'));
  }
  const status = statusOfRun(turn, end);
  const known = last?.outcome ?? unanswered({ sentAt: undefined }, now);
  const usage = new ToldUsage().take(summedUsage(usages));
  const outcome: RequestOutcome = { ...known, usage: usages.length > 0 ? usage : known.usage };
  const summary = { outcome, nanodollars: spent };
  const paused = end.kind === 'paused' ? { paused: end.reason } : {};
  // The settlements of steps in the history may still be on their way to the account.
  const settled = status === 'failed';
  const ended = { status, endedAt: now, outcome, cost: spent, events: log.events, settled, ...paused };
  log.finish(JSON.stringify(summary));
  transcript.changeTurn(row, ended);
  // A run that waits for approval will go on with its stored request.
  if (paused.paused !== 'approval') transcript.calls.deleteRequest(row.seq);
  if (status === 'interrupted') noteUnanswered(transcript, row, now);
  const { profile } = transcript;
  if (turn.isUnreported && profile) {
    transcript.save({ ...profile, version: Math.max(profile.version + 1, now), unreported: true });
  } else transcript.saveKept();
  // This is last because it shows the end. Everything before it has succeeded by then.
  log.store();
  Object.assign(row, ended);
  transcript.log.noteEnd(row);
  turn.ended = {
    status,
    summary,
    error,
    isUnanswered: turn.isUnanswered === true,
    isStopped: end.kind === 'error' && end.isStopped === true,
    ...paused,
    // Built only on demand: most callers have received it as a stream.
    get message() {
      return error ? undefined : messageIn(log.text);
    },
  };
  log.end();
}

/** Adds the row without content to a question that a crash has left, if the step that went on said nothing either. */
function noteUnanswered(transcript: Transcript, run: Pick<TurnRow, 'seq'>, now: number): void {
  const last = turnsOfRun(transcript, run.seq)
    .slice(1)
    .findLast(({ status }) => status !== 'failed');
  const { profile } = transcript;
  if (!profile || !last || transcript.has("messages where turn = ? and role = 'assistant'", last.seq)) return;
  const { version, messages, nextMessage } = profile;
  const answer = { seq: nextMessage, turn: last.seq, id: `msg_${last.id}_answer` };
  transcript.addMessage({ ...answer, role: 'assistant', createdAt: now, text: NO_ANSWER });
  const added = { messages: messages + 1, nextMessage: nextMessage + 1 };
  transcript.save({ ...profile, ...added, version: Math.max(version + 1, now), unreported: true });
}

function statusOfRun({ isCommitted, continues, last }: RunTurn, { kind }: EndOfRun): TurnStatus {
  if (!isCommitted && continues === undefined) return 'failed';
  if (kind === 'error') return 'interrupted';
  if (kind === 'stopped') return 'stopped';
  return last?.outcome.stop_reason === 'refusal' ? 'refused' : 'complete';
}

function saidError(error: unknown): { type: string; message: string } {
  if (isObject(error) && typeof error.type === 'string' && typeof error.message === 'string') {
    return { type: error.type, message: error.message };
  }
  return toApiError(error);
}

/** @returns the message that these events describe, for a caller who does not stream. */
function messageIn(events: string): Json {
  const builder = new MessageBuilder();
  for (const { data } of new FrameReader().push(encoder.encode(events))) builder.take(readEvent(data) ?? {});
  return { ...builder.message, content: builder.blocks.map(({ value }) => value) };
}
