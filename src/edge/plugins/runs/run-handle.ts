/** A run as far as its steps have come, and how its end is stored. */

import { createUnansweredOutcome } from '../../claude/outcome.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { ReportedUsage } from '../../claude/usage/reported-usage.ts';
import type { StoredOutcome, TurnRow } from '../../conversations/history/storage/rows.ts';
import { NO_ANSWER } from '../../conversations/history/storage/tables.ts';
import type { Transcript } from '../../conversations/history/storage/transcript.ts';
import { listTurnsOfRun } from '../../conversations/history/storage/turn-queries.ts';
import type { TurnEventLog } from '../../conversations/turn/event-log.ts';
import { MessageBuilder } from '../../conversations/turn/message-builder.ts';
import type { TurnResult } from '../../conversations/turn/turn-ending.ts';
import type { TurnHandle } from '../../conversations/turn/turn-handle.ts';
import { encoder } from '../../kit/http/bytes.ts';
import { parseEventRememberingInput } from '../../kit/json/input-texts.ts';
import { type JsonObject, removeUndefined } from '../../kit/json/object.ts';
import { SseEventReader } from '../../kit/sse/frames.ts';
import type { RemainingBudget } from '../../money/admission/budget-left.ts';
import { getCallRows } from './run-rows.ts';
import { sumUsageOfSteps } from './sum-usage.ts';

/** A run, as far as its steps have come. */
export interface RunHandle extends TurnHandle {
  readonly log: TurnEventLog;
  result: TurnResult | undefined;
  /** The usage of each step, as the API has reported it. */
  usages: JsonObject[];
  /** The last step: its outcome, its `message_delta`, and the remaining budget. */
  last?: { outcome: StoredOutcome; delta: JsonObject | undefined; budget?: RemainingBudget | undefined };
  /** Whether a step has become part of the history. */
  isCommitted?: boolean;
  /** Whether only its question is kept. */
  isUnanswered?: boolean | undefined;
  /** The number of the step whose calls this run makes, if it continues after approvals. */
  continues?: number;
  /** Whether the settlement of the last step did not report the conversation. */
  isUnreported?: boolean;
}

/** @returns whether a run, or the run that it continues, is part of the history */
export function isRunPartOfHistory({ isCommitted, continues }: RunHandle): boolean {
  return isCommitted === true || continues !== undefined;
}

/** Stores the end of a run whose last events have been shown, without waiting. */
export function storeRunEnd(
  turn: RunHandle,
  end: Pick<TurnResult, 'status' | 'error' | 'paused'> & { isStopped: boolean },
  { transcript, spent, now }: { transcript: Transcript; spent: Nanodollars; now: number },
): void {
  const { log, row, last, usages } = turn;
  const { status, error, isStopped, paused } = end;
  const lastOutcome = last?.outcome ?? createUnansweredOutcome({ sentAt: undefined }, now);
  const usage = new ReportedUsage().addReport(sumUsageOfSteps(usages), 'message');
  const outcome: StoredOutcome = { ...lastOutcome, usage: usages.length > 0 ? usage : lastOutcome.usage };
  const budget = last?.budget;
  const summary = { outcome, nanodollars: spent, ...(budget && { budget }) };
  // A run counts as settled at its end only if it failed. In any other case, the account may still have to confirm the
  // settlements of its steps.
  const settled = status === 'failed';
  const ended = { status, endedAt: now, outcome, cost: spent, events: log.events, settled };
  log.setSummary(JSON.stringify(summary));
  transcript.updateTurn(row, ended);
  if (paused !== undefined) getCallRows(transcript).storePauseReason(row.seq, paused);
  if (status === 'refused') transcript.markTurnsRefused('run = ? and seq > ?', row.seq, row.seq);
  // Keep the stored request of a run that waits for approval, because the run needs it to continue after the decision.
  if (paused !== 'approval') getCallRows(transcript).deleteRunRequest(row.seq);
  if (status === 'interrupted') storeEmptyRowForUnansweredCalls(transcript, row, now);
  const { storedProfile: profile } = transcript;
  if (turn.isUnreported && profile) {
    transcript.saveProfile({ ...profile, version: Math.max(profile.version + 1, now), unreported: true });
  } else transcript.saveUnsavedProfile();
  // Store the log last: it shows the end to clients, so everything else must be stored by then.
  log.store();
  Object.assign(row, ended);
  transcript.log.recordTurnEndTime(row);
  turn.result = {
    status,
    summary,
    error,
    isStopped,
    isUnanswered: turn.isUnanswered === true,
    ...removeUndefined({ paused }),
    // Build the message only when it is read, because most callers have received it as a stream.
    get message() {
      return error ? undefined : buildMessageFromEvents(log.text);
    },
  };
  log.end();
}

/**
 * Adds an answer without content to a question that was interrupted by a crash, if the step that continued has no answer
 * either.
 */
function storeEmptyRowForUnansweredCalls(transcript: Transcript, run: Pick<TurnRow, 'seq'>, now: number): void {
  const last = listTurnsOfRun(transcript, run.seq)
    .slice(1)
    .findLast(({ status }) => status !== 'failed');
  const { storedProfile: profile } = transcript;
  if (!profile || !last || transcript.hasRows("messages where turn = ? and role = 'assistant'", last.seq)) return;
  const { version, messages, nextMessage } = profile;
  const answer = { seq: nextMessage, turn: last.seq, id: `msg_${last.id}_answer` };
  transcript.addMessage({ ...answer, role: 'assistant', createdAt: now, text: NO_ANSWER });
  const added = { messages: messages + 1, nextMessage: nextMessage + 1 };
  transcript.saveProfile({ ...profile, ...added, version: Math.max(version + 1, now), unreported: true });
}

/** @returns the message that these events describe, for a caller that does not stream. */
function buildMessageFromEvents(events: string): JsonObject {
  const builder = new MessageBuilder();
  for (const { data } of new SseEventReader().readCompletedEvents(encoder.encode(events)))
    builder.addEventData(parseEventRememberingInput(data) ?? {});
  return { ...builder.message, content: builder.blocks.map(({ value }) => value) };
}
