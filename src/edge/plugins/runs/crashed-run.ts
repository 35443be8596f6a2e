/**
 * Restores an interrupted run from its rows after a crash: settles the interrupted step, and ends the run if it cannot
 * continue.
 */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { TurnRow } from '../../conversations/history/storage/rows.ts';
import type { Transcript } from '../../conversations/history/storage/transcript.ts';
import { areMessagesIncomplete } from '../../conversations/history/storage/turn-notes.ts';
import { listMessageNumbersOfTurn, listTurnsOfRun } from '../../conversations/history/storage/turn-queries.ts';
import { countInputTokens } from '../../conversations/turn/answer-report.ts';
import { type EventWriter, TurnEventLog } from '../../conversations/turn/event-log.ts';
import { MessageBuilder } from '../../conversations/turn/message-builder.ts';
import { addBlockToLog, createUnfinishedMessageEventStream } from '../../conversations/turn/message-events.ts';
import { measureUnseenTimeAtCrash, SKIPPED_EVENT_NUMBERS } from '../../conversations/turn/restore-turn.ts';
import { parseErrorEvent } from '../../conversations/turn/turn-ending.ts';
import { TurnRecorder } from '../../conversations/turn/turn-recorder.ts';
import { toShownResult } from '../../conversations/views/edge-blocks.ts';
import { encoder } from '../../kit/http/bytes.ts';
import { type ApiError, createErrorBody } from '../../kit/http/errors.ts';
import { parseEventRememberingInput } from '../../kit/json/input-texts.ts';
import { isObject, type JsonObject, parseJsonObject } from '../../kit/json/object.ts';
import { type SseEvent, SseEventReader } from '../../kit/sse/frames.ts';
import type { BilledAttempt } from '../../money/admission/billed-attempt.ts';
import type { SettlementResult } from '../../money/contracts/settlement.ts';
import { EDGE_SERVER_NAME } from '../../registry/tools/edge-tools.ts';
import type { ApprovalRow } from './approvals/approval-rows.ts';
import type { ToolCallRow } from './call-rows.ts';
import { isRunPartOfHistory, type RunHandle, storeRunEnd } from './run-handle.ts';
import { getApprovalRows, getCallRows, listContinuedCalls } from './run-rows.ts';

export const HIDDEN_BY_CRASH = 'It is unknown whether this call was made, because the deployment was interrupted.';
/** How often a run is resumed after a crash. The limit is needed because the run itself may cause the crash. */
const MOST_RESUMES = 10;

/** A run that a crash has interrupted. Its interrupted step has been ended. */
export interface CrashedRun {
  turn: RunHandle;
  /** The events of its log. */
  events: JsonObject[];
  /** The calls of the paused run that it has taken up. */
  owed: ApprovalRow[];
  /** Its steps, oldest first, and the calls that are in their rows. */
  steps: TurnRow[];
  calls: ToolCallRow[];
  /** Its cost; nanodollars. */
  spent: Nanodollars;
  /** The settlements of steps that may have been sent and whose hold is not known here. Only the account knows their cost. */
  unknown: Promise<SettlementResult>[];
  mayGoOn: boolean;
  /** Until when it waits before its next step, in milliseconds since 1970; undefined if it does not. */
  waitsUntil: number | undefined;
}

interface CrashRecoveryContext {
  transcript: Transcript;
  now: number;
  error: ApiError;
  restoreAttempt(step: TurnRow): Pick<BilledAttempt, 'settle'>;
  /** Called with each step that is settled now. */
  onSettled(step: TurnRow, settled: Promise<SettlementResult> | undefined): void;
}

/** Ends the step that ran when the object died. Call it in one transaction. */
export function endInterruptedStep(
  row: TurnRow,
  { transcript, now, error, restoreAttempt, onSettled }: CrashRecoveryContext,
): CrashedRun {
  restoreShownResultsToLog(transcript, row);
  restoreProfileFromSteps(transcript, row);
  const { text, rows } = transcript.log.readLog(row);
  const frames = new SseEventReader().readCompletedEvents(encoder.encode(text));
  const numbers = parseEventNumbers(text);
  const log = new TurnEventLog(transcript, row, { events: numbers.at(-1) ?? 0, rows });
  const waitsUntil = getCallRows(transcript).findWaitEnd(row.seq);
  // A waiting run has stored all events that it has sent. Any other run may have sent unstored events, so skip their numbers.
  if (waitsUntil === undefined) log.skip(SKIPPED_EVENT_NUMBERS);
  // The caller's connection is closed, so report the end of the run as an event, as for a background turn.
  const turn: RunHandle = { row, log, result: undefined, usages: [], isReported: true };
  const owed = getApprovalRows(transcript).listApprovalsContinuedByRun(row.seq);
  const [continued] = owed;
  if (continued) turn.continues = continued.turn;
  const steps = listTurnsOfRun(transcript, row.seq).slice(1);
  const calls: ToolCallRow[] = [];
  const unknown: Promise<SettlementResult>[] = [];
  const mayGoOn = log.events < MOST_RESUMES * SKIPPED_EVENT_NUMBERS && !steps.some(areMessagesIncomplete);
  let spent = 0;
  for (const step of steps) {
    if (step.status === 'running') {
      const own = frames.filter((_, at) => (numbers[at] ?? 0) > step.events);
      const isLater = turn.isCommitted === true;
      const part = { frames: own, isLater, isOfEdge: isRunPartOfHistory(turn), goesOn: mayGoOn, wokeAt: now };
      const restored = restoreStepFromEvents(transcript, step, log, part);
      const settled = restored.end({ kind: 'cut', error, end: 'cut' }, restoreAttempt(step), now);
      onSettled(restored.row, settled);
      Object.assign(step, restored.row);
      if (settled && !isStepHoldKnown(step)) unknown.push(settled);
    } else if (!isStepHoldKnown(step) && !step.settled && step.outcome) {
      // An earlier crash happened before the account confirmed this cost. Settle the step again, which changes nothing if it
      // was settled.
      unknown.push(restoreAttempt(step).settle(step.outcome).done);
    }
    calls.push(...getCallRows(transcript).listCallsOfStep(step.seq));
    spent += step.cost;
    if (step.status !== 'failed') turn.isCommitted = true;
    if (step.outcome) turn.last = { outcome: step.outcome, delta: undefined };
    if (step.outcome?.usage) turn.usages.push({ ...step.outcome.usage });
  }
  // Add the costs of finished subagents of the continued calls, which this run also pays for. A subagent without a result is
  // attached again, and its cost is added then.
  for (const { endedAt, subagent } of [...calls, ...listContinuedCalls(transcript, row.seq)]) {
    if (endedAt !== null) spent += subagent?.cost ?? 0;
  }
  const events = frames.map(({ data }) => parseJsonObject(data) ?? {});
  return { turn, events, owed, steps, calls, spent, unknown, mayGoOn, waitsUntil };
}

/** Ends a run that cannot be resumed. */
export function endUnresumableRun(
  { turn, spent }: CrashedRun,
  { transcript, now, error }: Pick<CrashRecoveryContext, 'transcript' | 'now' | 'error'>,
): void {
  const { continues, row } = turn;
  for (const { seq } of [
    ...(continues === undefined ? [] : [{ seq: continues }]),
    ...listTurnsOfRun(transcript, row.seq),
  ]) {
    for (const call of getCallRows(transcript).listCallsOfStep(seq)) {
      if (call.endedAt !== null) continue;
      const { id: tool_use_id, beganAt, subagent } = call;
      // The run cannot be resumed, so it will not read the subagent's actual cost. Count the subagent's whole share instead.
      if (subagent) {
        subagent.cost = subagent.most ?? subagent.cost;
        spent += subagent.cost;
      }
      const result = JSON.stringify({ type: 'tool_result', tool_use_id, content: HIDDEN_BY_CRASH, is_error: true });
      getCallRows(transcript).storeEndedCall({
        ...call,
        beganAt: beganAt ?? now,
        endedAt: now,
        isError: true,
        bytes: 0,
        result,
      });
    }
  }
  getCallRows(transcript).deletePause(row.seq);
  turn.isUnreported = true;
  const data = JSON.stringify(createErrorBody(error, row.requestId));
  turn.log.add({ event: 'error', data });
  const status = isRunPartOfHistory(turn) ? 'interrupted' : 'failed';
  storeRunEnd(turn, { status, error: parseErrorEvent(data), isStopped: false }, { transcript, spent, now });
}

/** @returns whether a step's row has the hold of its last try. A try may have a hold that its row does not know. */
function isStepHoldKnown({ grant }: TurnRow): boolean {
  return grant !== null && Number.isFinite(grant.hold);
}

/** Adds results to a run's log that were shown, but are stored only in the rows of their calls. */
function restoreShownResultsToLog(transcript: Transcript, row: TurnRow): void {
  const { text, rows } = transcript.log.readLog(row);
  const events = parseEventNumbers(text).at(-1) ?? 0;
  const log = new TurnEventLog(transcript, row, { events, rows });
  let index = text.match(/^event: content_block_start$/gm)?.length ?? 0;
  const own = listTurnsOfRun(transcript, row.seq).findLast(({ seq }) => getCallRows(transcript).isPlanned(seq));
  const owed = own ? [] : getApprovalRows(transcript).listApprovalsContinuedByRun(row.seq);
  const last = own?.seq ?? owed[0]?.turn;
  if (last === undefined) return;
  // Show only the results that the continuing run produced: the paused run has already sent the other results of that step to
  // the client.
  const isShownByThisRun = (id: string) => own !== undefined || owed.some(({ toolUseId }) => toolUseId === id);
  const results = getCallRows(transcript).readResultsByCallId(last);
  const ended = getCallRows(transcript)
    .listCallsOfStep(last)
    .filter(({ id, event }) => isShownByThisRun(id) && event !== null && event > events);
  for (const { id, isError } of ended.sort((one, other) => Number(one.event) - Number(other.event))) {
    const { content = '' } = parseJsonObject(results.get(id) ?? '{}') ?? {};
    addBlockToLog(log, index, toShownResult(id, content, isError));
    index += 1;
  }
  log.store({ at: Math.max(...ended.map(({ endedAt }) => endedAt ?? 0)), unseenMs: 0 });
}

/** Applies the changes of steps to the profile that were made since it was stored. */
function restoreProfileFromSteps(transcript: Transcript, { seq }: TurnRow): void {
  const { storedProfile: profile } = transcript;
  if (!profile) return;
  const next = { ...profile };
  for (const step of listTurnsOfRun(transcript, seq).slice(1)) {
    // Skip steps with another status, which have saved the profile when they ended.
    if (step.status !== 'complete' || step.seq <= profile.through) continue;
    const messages = listMessageNumbersOfTurn(transcript, step.seq);
    next.through = step.seq;
    next.cost += step.cost;
    next.inputTokens += countInputTokens(step.outcome?.usage ?? undefined);
    next.outputTokens += step.outcome?.usage?.output_tokens ?? 0;
    next.messages += messages.length;
    next.nextMessage = Math.max(next.nextMessage, (messages.at(-1) ?? 0) + 1);
  }
  if (next.through !== profile.through) transcript.keepUnsavedProfile(next);
}

/** @returns the numbers of the events in a log. They are read and not counted, since an earlier crash has left a gap. */
function parseEventNumbers(log: string): number[] {
  return [...log.matchAll(/^id: [\w-]+-(\d+)$/gm)].map(([, number]) => Number(number));
}

/** Restores a step from its own events. @param log the log of its run, which has shown what there is of the step */
function restoreStepFromEvents(
  transcript: Transcript,
  row: TurnRow,
  log: TurnEventLog,
  part: {
    frames: readonly SseEvent[];
    isLater: boolean;
    isOfEdge: boolean;
    goesOn: boolean;
    wokeAt: number;
  },
): TurnRecorder {
  const { frames, isLater, isOfEdge, goesOn, wokeAt } = part;
  const builder = new MessageBuilder();
  for (const { data } of frames) {
    const event = parseEventRememberingInput(data) ?? {};
    // Leave out calls of the edge's tools: this step's message was not stored, so these calls will not be made.
    if (!isEdgeToolBlock(event)) builder.addEventData(event);
  }
  const unseen = measureUnseenTimeAtCrash(transcript.log.findLastRowTime(row.run ?? row.seq), row, builder, wokeAt);
  const bytes = frames.reduce((sum, { data }) => sum + data.length, 0);
  const recovered = { builder, frames: new SseEventReader(), bytes, ...unseen, canRunContinue: goesOn };
  const createStepWriter = createWriterOfShownStep;
  const turn = new TurnRecorder(transcript, row, 1, {
    log,
    createStepWriter,
    recovered,
    isLaterStep: isLater,
    isOfEdge,
  });
  turn.isAcknowledged = true;
  turn.progress.sentAt = row.sentAt ?? row.beganAt;
  turn.status = frames.length > 0 ? 200 : undefined;
  return turn;
}

/** A writer that writes nothing: the run has shown the step's events already, and reports the end itself. */
function createWriterOfShownStep(builder: MessageBuilder): EventWriter {
  return {
    add: () => undefined,
    get text() {
      return createUnfinishedMessageEventStream(builder);
    },
  };
}

function isEdgeToolBlock({ content_block: block }: JsonObject): boolean {
  return isObject(block) && (block.server_name === EDGE_SERVER_NAME || block.type === 'mcp_tool_result');
}
