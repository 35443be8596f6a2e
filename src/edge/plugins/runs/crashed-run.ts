/**
 * Takes from its rows what a crash has left of a run: books the step that was interrupted, and ends the run where it cannot go
 * on. It does so also where nothing runs.
 */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { TurnRow } from '../../conversations/history/storage/rows.ts';
import type { Transcript } from '../../conversations/history/storage/transcript.ts';
import { messagesOf, turnsOfRun } from '../../conversations/history/storage/turn-queries.ts';
import { inputTokens } from '../../conversations/turn/answer-report.ts';
import { EventLog } from '../../conversations/turn/event-log.ts';
import { MessageBuilder } from '../../conversations/turn/message-builder.ts';
import { addBlock, eventsOfUnfinished } from '../../conversations/turn/message-events.ts';
import { SKIPPED_EVENT_NUMBERS, unseenAtCrash } from '../../conversations/turn/restore-turn.ts';
import { parseErrorEvent } from '../../conversations/turn/turn-ending.ts';
import { TurnRecorder } from '../../conversations/turn/turn-recorder.ts';
import { shownResult } from '../../conversations/views/edge-blocks.ts';
import { encoder } from '../../kit/http/bytes.ts';
import { type ApiError, errorBody } from '../../kit/http/errors.ts';
import { parseEventText } from '../../kit/json/input-texts.ts';
import { isObject, type Json, parseObject } from '../../kit/json/object.ts';
import { type Frame, FrameReader } from '../../kit/sse/frames.ts';
import type { RequestMeter } from '../../money/admission/metered-request.ts';
import type { Settled } from '../../money/contracts/settlement.ts';
import { EDGE_SERVER_NAME } from '../../registry/tools/edge-tools.ts';
import type { ApprovalRow } from './approvals/approval-rows.ts';
import type { CallRow } from './call-rows.ts';
import { isPartOfHistory, type RunHandle, storeRunEnd } from './run-handle.ts';
import { approvalRowsOf, callRowsOf, continuedCallsOf } from './run-rows.ts';

export const HIDDEN_BY_CRASH = 'It is unknown whether this call was made: the edge was interrupted.';
/** How often a run is resumed after a crash. The limit is needed because the run itself may cause the crash. */
const MOST_RESUMES = 10;

/** A run that a crash has interrupted. Its interrupted step has been ended. */
export interface CrashedRun {
  turn: RunHandle;
  /** The events of its log. */
  events: Json[];
  /** The calls of the paused run that it has taken up. */
  owed: ApprovalRow[];
  /** Its steps, oldest first, and the calls that are in their rows. */
  steps: TurnRow[];
  calls: CallRow[];
  /** What it has spent; nanodollars. */
  spent: Nanodollars;
  /** The settlements of steps that may have gone up and whose hold is not known here. Only the account knows their cost. */
  unknown: Promise<Settled>[];
  mayGoOn: boolean;
  /** Until when it waits before its next step, in milliseconds since 1970; undefined if it does not. */
  waitsUntil: number | undefined;
}

interface CrashedObject {
  transcript: Transcript;
  now: number;
  error: ApiError;
  meterOf(step: TurnRow): Pick<RequestMeter, 'settle'>;
  /** Called with each step that is settled now. */
  onSettled(step: TurnRow, settled: Promise<Settled> | undefined): void;
}

/** Ends the step that ran when the object died. Call it in one transaction. */
export function closeCrashedRun(
  row: TurnRow,
  { transcript, now, error, meterOf, onSettled }: CrashedObject,
): CrashedRun {
  restoreResults(transcript, row);
  restoreProfile(transcript, row);
  const { text, rows } = transcript.log.readLog(row);
  const frames = new FrameReader().push(encoder.encode(text));
  const numbers = eventNumbers(text);
  const log = new EventLog(transcript, row, { events: numbers.at(-1) ?? 0, rows });
  const waitsUntil = callRowsOf(transcript).waitOf(row.seq);
  // While it waits, everything that was shown is stored.
  if (waitsUntil === undefined) log.skip(SKIPPED_EVENT_NUMBERS);
  // The caller who began the run is gone, so its end is reported as for a turn in the background.
  const turn: RunHandle = { row, log, result: undefined, usages: [], isReported: true };
  const owed = approvalRowsOf(transcript).continuedBy(row.seq);
  const [continued] = owed;
  if (continued) turn.continues = continued.turn;
  const steps = turnsOfRun(transcript, row.seq).slice(1);
  const calls: CallRow[] = [];
  const unknown: Promise<Settled>[] = [];
  const mayGoOn = log.events < MOST_RESUMES * SKIPPED_EVENT_NUMBERS;
  let spent = 0;
  for (const step of steps) {
    if (step.status === 'running') {
      const own = frames.filter((_, at) => (numbers[at] ?? 0) > step.events);
      const isLater = turn.isCommitted === true;
      const part = { rows, frames: own, isLater, isOfEdge: isPartOfHistory(turn), goesOn: mayGoOn, wokeAt: now };
      const restored = restoreStep(transcript, step, log.events, part);
      const settled = restored.end({ kind: 'cut', error, end: 'cut' }, meterOf(step), now);
      onSettled(restored.row, settled);
      Object.assign(step, restored.row);
      if (settled && !isHoldKnown(step)) unknown.push(settled);
    } else if (!isHoldKnown(step) && !step.settled && step.outcome) {
      // An earlier crash came before the account had said the cost. Settling again changes nothing.
      unknown.push(meterOf(step).settle(step.outcome).done);
    }
    calls.push(...callRowsOf(transcript).callsOfTurn(step.seq));
    spent += step.cost;
    if (step.status !== 'failed') turn.isCommitted = true;
    if (step.outcome) turn.last = { outcome: step.outcome, delta: undefined };
    if (step.outcome?.usage) turn.usages.push({ ...step.outcome.usage });
  }
  // It also pays for the subagents among the calls that it has taken up. One without a result is attached to again, and counted then.
  for (const { endedAt, subagent } of [...calls, ...continuedCallsOf(transcript, row.seq)]) {
    if (endedAt !== null) spent += subagent?.cost ?? 0;
  }
  const events = frames.map(({ data }) => parseObject(data) ?? {});
  return { turn, events, owed, steps, calls, spent, unknown, mayGoOn, waitsUntil };
}

/** Ends a run that cannot be resumed. */
export function endCrashedRun(
  { turn, spent }: CrashedRun,
  { transcript, now, error }: Pick<CrashedObject, 'transcript' | 'now' | 'error'>,
): void {
  const { continues, row } = turn;
  for (const { seq } of [
    ...(continues === undefined ? [] : [{ seq: continues }]),
    ...turnsOfRun(transcript, row.seq),
  ]) {
    for (const call of callRowsOf(transcript).callsOfTurn(seq)) {
      if (call.endedAt !== null) continue;
      const { id: tool_use_id, beganAt, subagent } = call;
      // Nobody will ask any more what the subagent has cost, so all that was set aside for it is counted.
      if (subagent) {
        subagent.cost = subagent.most ?? subagent.cost;
        spent += subagent.cost;
      }
      const result = JSON.stringify({ type: 'tool_result', tool_use_id, content: HIDDEN_BY_CRASH, is_error: true });
      callRowsOf(transcript).end({ ...call, beganAt: beganAt ?? now, endedAt: now, isError: true, bytes: 0, result });
    }
  }
  callRowsOf(transcript).endPause(row.seq);
  turn.isUnreported = true;
  const data = JSON.stringify(errorBody(error, row.requestId));
  turn.log.add({ event: 'error', data });
  const status = isPartOfHistory(turn) ? 'interrupted' : 'failed';
  storeRunEnd(turn, { status, error: parseErrorEvent(data), isStopped: false }, { transcript, spent, now });
}

/** @returns whether a step's row has the hold of its last try. A try may have a hold that its row does not know. */
function isHoldKnown({ grant }: TurnRow): boolean {
  return grant !== null && Number.isFinite(grant.hold);
}

/** Adds results to a run's log that were shown, but are stored only in the rows of their calls. */
function restoreResults(transcript: Transcript, row: TurnRow): void {
  const { text, rows } = transcript.log.readLog(row);
  const events = eventNumbers(text).at(-1) ?? 0;
  const log = new EventLog(transcript, row, { events, rows });
  let index = text.match(/^event: content_block_start$/gm)?.length ?? 0;
  const own = turnsOfRun(transcript, row.seq).findLast(({ seq }) => callRowsOf(transcript).isPlanned(seq));
  const owed = own ? [] : approvalRowsOf(transcript).continuedBy(row.seq);
  const last = own?.seq ?? owed[0]?.turn;
  if (last === undefined) return;
  // The paused run has already shown the other results of that step.
  const isShownHere = (id: string) => own !== undefined || owed.some(({ toolUseId }) => toolUseId === id);
  const results = callRowsOf(transcript).results(last);
  const ended = callRowsOf(transcript)
    .callsOfTurn(last)
    .filter(({ id, event }) => isShownHere(id) && event !== null && event > events);
  for (const { id, isError } of ended.sort((one, other) => Number(one.event) - Number(other.event))) {
    const { content = '' } = parseObject(results.get(id) ?? '{}') ?? {};
    addBlock(log, index, shownResult(id, content, isError));
    index += 1;
  }
  log.store({ at: Math.max(...ended.map(({ endedAt }) => endedAt ?? 0)), unseenMs: 0 });
}

/** Adds to the profile what the steps have changed since it was stored. */
function restoreProfile(transcript: Transcript, { seq }: TurnRow): void {
  const { profile } = transcript;
  if (!profile) return;
  const next = { ...profile };
  for (const step of turnsOfRun(transcript, seq).slice(1)) {
    // A step with another status has saved the profile itself.
    if (step.status !== 'complete' || step.seq <= profile.through) continue;
    const messages = messagesOf(transcript, step.seq);
    next.through = step.seq;
    next.cost += step.cost;
    next.inputTokens += inputTokens(step.outcome?.usage ?? undefined);
    next.outputTokens += step.outcome?.usage?.output_tokens ?? 0;
    next.messages += messages.length;
    next.nextMessage = Math.max(next.nextMessage, (messages.at(-1) ?? 0) + 1);
  }
  if (next.through !== profile.through) transcript.keepUnsaved(next);
}

/** @returns the numbers of the events in a log. They are read and not counted, since an earlier crash has left a gap. */
function eventNumbers(log: string): number[] {
  return [...log.matchAll(/^id: [\w-]+-(\d+)$/gm)].map(([, number]) => Number(number));
}

/** The log of a step whose run has shown what there is of it, and says how it ends. */
class RecoveredStepLog extends EventLog {
  readonly #builder: MessageBuilder;

  constructor(builder: MessageBuilder, ...of: ConstructorParameters<typeof EventLog>) {
    super(...of);
    this.#builder = builder;
  }

  /** The step's own events, by which it is settled. */
  override get text(): string {
    return eventsOfUnfinished(this.#builder);
  }

  override add(): void {}
  override store(): void {}
  override touch(): void {}
  override finish(): void {}
  override end(): void {}
}

/** Restores a step from its own events. @param events the number of the last event of its run */
function restoreStep(
  transcript: Transcript,
  row: TurnRow,
  events: number,
  part: {
    rows: number;
    frames: readonly Frame[];
    isLater: boolean;
    isOfEdge: boolean;
    goesOn: boolean;
    wokeAt: number;
  },
): TurnRecorder {
  const { rows, frames, isLater, isOfEdge, goesOn, wokeAt } = part;
  const builder = new MessageBuilder();
  for (const { data } of frames) {
    const event = parseEventText(data) ?? {};
    // Calls of the edge are left out: their step was not stored, so they are not made.
    if (!isBlockOfEdge(event)) builder.take(event);
  }
  const unseen = unseenAtCrash(transcript.log.last(row.run ?? row.seq), row, builder, wokeAt);
  const bytes = frames.reduce((sum, { data }) => sum + data.length, 0);
  const log = new RecoveredStepLog(builder, transcript, row, { events, rows });
  const recovered = { log, builder, frames: new FrameReader(), bytes, ...unseen, goesOn };
  const turn = new TurnRecorder(transcript, row, 1, { recovered, isLater, isOfEdge });
  turn.isAcknowledged = true;
  turn.progress.sentAt = row.sentAt ?? row.beganAt;
  turn.status = frames.length > 0 ? 200 : undefined;
  return turn;
}

function isBlockOfEdge({ content_block: block }: Json): boolean {
  return isObject(block) && (block.server_name === EDGE_SERVER_NAME || block.type === 'mcp_tool_result');
}
