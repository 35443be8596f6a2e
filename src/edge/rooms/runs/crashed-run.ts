/** Restores a run whose object has died, as far as it was stored, and ends the interrupted step. */

import { encoder } from '../../kit/http/bytes.ts';
import type { ApiError } from '../../kit/http/errors.ts';
import { readEvent } from '../../kit/json/block-texts.ts';
import { isObject, type Json, parseObject } from '../../kit/json/object.ts';
import { type Frame, FrameReader } from '../../kit/sse/frames.ts';
import { numberOfTry } from '../../money/admission/admission.ts';
import type { RequestMeter } from '../../money/admission/metered-request.ts';
import type { Settled } from '../../money/contracts/settlement.ts';
import { EDGE } from '../../talk/contracts/edge-server.ts';
import type { SpentSoFar } from '../../talk/conversations/stored-run.ts';
import type { TurnRow } from '../../talk/storage/rows.ts';
import type { Transcript } from '../../talk/storage/transcript.ts';
import { isAnswered, messagesOf, turnAt, turnsOfRun } from '../../talk/storage/turn-queries.ts';
import { inputTokens } from '../../talk/turn/answer-report.ts';
import { EventLog } from '../../talk/turn/event-log.ts';
import { MessageBuilder } from '../../talk/turn/message-builder.ts';
import { SKIPPED_EVENT_NUMBERS, unseenAtCrash } from '../../talk/turn/restore-turn.ts';
import { Turn } from '../../talk/turn/turn.ts';
import { endRun, type RunTurn } from './end-run.ts';
import { callsTakenUp } from './owed-calls.ts';
import { ShownRun, StepLog } from './shown-run.ts';
import type { ToolResult } from './tool-result.ts';

export const HIDDEN_BY_CRASH = 'It is unknown whether this call was made: the edge was interrupted.';
/** How often a run is resumed after a crash. The limit is needed because the run itself may cause the crash. */
const MOST_RESUMES = 10;

/** A run that a crash has interrupted. Its interrupted step has been ended. */
export interface CrashedRun {
  turn: RunTurn;
  /** How many blocks were shown, and which of them were not ended. */
  blocks: number;
  open: number[];
  /** The ids of calls that were shown but never made, because their step was not stored. */
  unmade: string[];
  spent: SpentSoFar;
  /** The settlements of steps that may have gone up and whose hold is not known here. Only the account knows their cost. */
  unknown: Promise<Settled>[];
  /** The number of its last step, and the highest known number of a try. */
  number: number;
  tries: number;
  /** The last step whose answer is kept, whole or in part. */
  last: TurnRow | undefined;
  /** Whether the beginning of the message was shown. */
  hasBegun: boolean;
  mayGoOn: boolean;
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
  const { text, rows } = transcript.log.of(row);
  const frames = new FrameReader().push(encoder.encode(text));
  const numbers = numbersIn(text);
  const log = new EventLog(transcript, row, { events: numbers.at(-1) ?? 0, rows });
  log.skip(SKIPPED_EVENT_NUMBERS);
  const events = frames.map(({ data }) => parseObject(data) ?? {});
  const indicesOf = (type: string) => events.filter((event) => event.type === type).map(({ index }) => Number(index));
  const [started, ended] = [indicesOf('content_block_start'), indicesOf('content_block_stop')];
  // The caller who began the run is gone, so its end is reported as for a turn in the background.
  const run: RunTurn = { row, log, ended: undefined, usages: [], isReported: true };
  const owed = transcript.approvals.takenUpBy(row.seq);
  const [continued] = owed;
  if (continued) run.continues = continued.turn;
  const spent: SpentSoFar = { steps: 0, calls: 0, cost: 0 };
  const steps = turnsOfRun(transcript, row.seq).slice(1);
  // Of a step that was interrupted only its question may be left. Then the next step answers that.
  const isAnswer = ({ status, seq }: TurnRow) =>
    status !== 'failed' && (status !== 'interrupted' || isAnswered(transcript, seq));
  const unknown: Promise<Settled>[] = [];
  const unmade = new Set(
    idsShown(events, ({ type, server_name, id }) => type === 'mcp_tool_use' && server_name === EDGE && id),
  );
  for (const id of idsShown(events, ({ type, tool_use_id }) => type === 'mcp_tool_result' && tool_use_id))
    unmade.delete(id);
  for (const { toolUseId } of owed) unmade.delete(toolUseId);
  const mayGoOn = log.events < MOST_RESUMES * SKIPPED_EVENT_NUMBERS;
  for (const step of steps) {
    if (step.status === 'running') {
      const own = frames.filter((_, at) => (numbers[at] ?? 0) > step.events);
      const shown = new ShownRun(log, () => false, 0, true);
      const isLater = run.isCommitted === true;
      const isOfEdge = isLater || continued !== undefined;
      const part = { shown, frames: own, isLater, isOfEdge, goesOn: mayGoOn, wokeAt: now };
      const turn = restoreStep(transcript, step, part);
      const settled = turn.end({ kind: 'cut', error, end: 'cut' }, meterOf(step), now);
      onSettled(turn.row, settled);
      Object.assign(step, turn.row);
      if (settled && !isHoldKnown(step)) unknown.push(settled);
    } else if (!isHoldKnown(step) && !step.settled && step.outcome) {
      // An earlier crash came before the account had said the cost. Settling again changes nothing.
      unknown.push(meterOf(step).settle(step.outcome).done);
    }
    spent.cost += step.cost;
    const calls = transcript.calls.of(step.seq);
    for (const { id } of calls) unmade.delete(id);
    spent.calls += calls.length;
    // A subagent without a result is attached to again. Its share is counted then.
    for (const { endedAt, subagent } of calls) if (endedAt !== null) spent.cost += subagent?.cost ?? 0;
    if (step.status !== 'failed') run.isCommitted = true;
    if (isAnswer(step)) spent.steps += 1;
    if (step.outcome) run.last = { outcome: step.outcome, delta: undefined };
    if (step.outcome?.usage) run.usages.push({ ...step.outcome.usage });
  }
  // This run also pays for the subagents among the calls that it has taken up from the paused run.
  for (const { endedAt, subagent } of callsTakenUp(transcript, row.seq)) {
    if (endedAt !== null) spent.cost += subagent?.cost ?? 0;
  }
  const own = steps.findLast(isAnswer);
  const last = own ?? (continued && turnAt(transcript, continued.turn));
  const number = Math.max(0, ...steps.map(({ id }) => Number(id.split('_').at(-1))));
  const tries = Math.max(0, ...steps.map(({ grant, requestId }) => numberOfTry(grant?.requestId ?? requestId)));
  const open = started.filter((index) => !ended.includes(index));
  const hasBegun = events.some(({ type }) => type === 'message_start');
  return {
    ...{ turn: run, blocks: started.length, open, unmade: [...unmade], hasBegun, spent, unknown },
    ...{ number, tries, last, mayGoOn },
  };
}

/** Ends a run that cannot be resumed. */
export function endCrashedRun(
  { turn, spent, blocks }: CrashedRun,
  { transcript, now, error }: Pick<CrashedObject, 'transcript' | 'now' | 'error'>,
): void {
  const { continues } = turn;
  for (const step of [
    ...(continues === undefined ? [] : [{ seq: continues }]),
    ...turnsOfRun(transcript, turn.row.seq),
  ]) {
    for (const call of transcript.calls.of(step.seq)) {
      if (call.endedAt !== null) continue;
      const { id: tool_use_id, beganAt, subagent } = call;
      // Nobody will ask any more what the subagent has cost, so all that was set aside for it is counted.
      if (subagent) {
        subagent.cost = subagent.most ?? subagent.cost;
        spent.cost += subagent.cost;
      }
      const result = JSON.stringify({ type: 'tool_result', tool_use_id, content: HIDDEN_BY_CRASH, is_error: true });
      transcript.calls.end({ ...call, beganAt: beganAt ?? now, endedAt: now, isError: true, bytes: 0, result });
    }
  }
  turn.isUnreported = true;
  const shown = new ShownRun(turn.log, () => false, blocks, true);
  const { requestId } = turn.row;
  endRun(turn, { kind: 'error', error }, { transcript, shown, spent: spent.cost, now, requestId });
}

/** @returns whether a step's row has the hold of its last try. A try may have a hold that its row does not know. */
function isHoldKnown({ grant }: TurnRow): boolean {
  return grant !== null && Number.isFinite(grant.hold);
}

/** Adds results to a run's log that were shown, but are stored only in the rows of their calls. */
function restoreResults(transcript: Transcript, row: TurnRow): void {
  const { text, rows } = transcript.log.of(row);
  const events = numbersIn(text).at(-1) ?? 0;
  const log = new EventLog(transcript, row, { events, rows });
  const blocks = text.match(/^event: content_block_start$/gm)?.length ?? 0;
  const shown = new ShownRun(log, () => false, blocks, true);
  const own = turnsOfRun(transcript, row.seq).findLast(({ calls }) => typeof calls === 'string');
  const owed = own ? [] : transcript.approvals.takenUpBy(row.seq);
  const last = own?.seq ?? owed[0]?.turn;
  if (last === undefined) return;
  // The paused run has already shown the other results of that step.
  const isShownHere = (id: string) => own !== undefined || owed.some(({ toolUseId }) => toolUseId === id);
  const results = transcript.calls.results(last);
  const ended = transcript.calls
    .of(last)
    .filter(({ id, event }) => isShownHere(id) && event !== null && event > events);
  for (const { id, isError, bytes } of ended.sort((one, other) => Number(one.event) - Number(other.event))) {
    const { content = '' } = parseObject(results.get(id) ?? '{}') ?? {};
    shown.expect(id);
    shown.showResult(id, { content: content as ToolResult['content'], isError, bytes });
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
  if (next.through !== profile.through) transcript.keep(next);
}

/** @returns the numbers of the events in a log. They are read and not counted, since an earlier crash has left a gap. */
function numbersIn(log: string): number[] {
  return [...log.matchAll(/^id: [\w-]+-(\d+)$/gm)].map(([, number]) => Number(number));
}

/** Restores a step from its own events and from the log of its run. */
function restoreStep(
  transcript: Transcript,
  row: TurnRow,
  part: {
    shown: ShownRun;
    frames: readonly Frame[];
    isLater: boolean;
    isOfEdge: boolean;
    goesOn: boolean;
    wokeAt: number;
  },
): Turn {
  const { shown, frames, isLater, isOfEdge: isOfEdgeAlone, goesOn, wokeAt } = part;
  const builder = new MessageBuilder();
  for (const { data } of frames) {
    const event = readEvent(data) ?? {};
    // Calls of the edge are left out: their step was not stored, so they are not made.
    if (!isOfEdge(event)) builder.take(event);
  }
  const unseen = unseenAtCrash(transcript.log.last(row.run ?? row.seq), row, builder, wokeAt);
  const bytes = frames.reduce((sum, { data }) => sum + data.length, 0);
  const recovered = { log: new StepLog(shown, builder), builder, frames: new FrameReader(), bytes, ...unseen, goesOn };
  const turn = new Turn(transcript, row, 1, { recovered, isLater, isOfEdge: isOfEdgeAlone });
  turn.isAcknowledged = true;
  turn.progress.sentAt = row.sentAt ?? row.beganAt;
  turn.status = frames.length > 0 ? 200 : undefined;
  return turn;
}

/** @returns the ids of blocks in a log. @param idOf the id of a block; something else for blocks to leave out */
function idsShown(events: readonly Json[], idOf: (block: Json) => unknown): string[] {
  return events.flatMap(({ content_block: block }) => {
    const id = isObject(block) && idOf(block);
    return typeof id === 'string' ? [id] : [];
  });
}

function isOfEdge({ content_block: block }: Json): boolean {
  return isObject(block) && (block.server_name === EDGE || block.type === 'mcp_tool_result');
}
