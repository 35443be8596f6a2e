/** Ends a run whose object has died: the step that ran from what was stored of it, and calls without a result. */

import type { RequestMeter } from '../../accounts/admission/metered-request.ts';
import type { Settled } from '../../durable/contracts/settlement.ts';
import { encoder } from '../../http/bytes.ts';
import type { ApiError } from '../../http/errors.ts';
import { isObject, type Json, parseObject } from '../../json/object.ts';
import { type Frame, FrameReader } from '../../sse/frames.ts';
import type { TurnRow } from '../storage/rows.ts';
import type { Transcript } from '../storage/transcript.ts';
import { turnsOfRun } from '../storage/turn-queries.ts';
import { EventLog } from '../turn/event-log.ts';
import { MessageBuilder } from '../turn/message-builder.ts';
import { SKIPPED_EVENT_NUMBERS, unseenAtCrash } from '../turn/restore-turn.ts';
import { Turn } from '../turn/turn.ts';
import { endRun, type RunTurn } from './end-run.ts';
import { EDGE, ShownRun, StepLog } from './shown-run.ts';

const HIDDEN_BY_CRASH = 'It is unknown whether this call was made: the edge was interrupted.';

interface CrashedRun {
  transcript: Transcript;
  now: number;
  error: ApiError;
  meterOf(step: TurnRow): Pick<RequestMeter, 'settle'>;
  /** Called with each step that is settled now. */
  onSettled(step: TurnRow, settled: Promise<Settled> | undefined): void;
}

/** Ends a run that was interrupted; to be called in one transaction. */
export function endCrashedRun(row: TurnRow, { transcript, now, error, meterOf, onSettled }: CrashedRun): void {
  const { text, rows } = transcript.log.of(row);
  const frames = new FrameReader().push(encoder.encode(text));
  const log = new EventLog(transcript, row, { events: frames.length, rows });
  log.skip(SKIPPED_EVENT_NUMBERS);
  const shown = new ShownRun(log, () => false, frames.length, frames.length > 0);
  const run: RunTurn = { row, log, ended: undefined, usages: [] };
  let spent = 0;
  for (const step of turnsOfRun(transcript, row.seq).slice(1)) {
    if (step.status === 'running') {
      const turn = restoreStep(transcript, step, shown, frames.slice(step.events));
      onSettled(turn.row, turn.end({ kind: 'cut', error, end: 'cut' }, meterOf(step), now));
      Object.assign(step, turn.row);
    }
    for (const { turn, n, id, endedAt } of transcript.calls.of(step.seq)) {
      if (endedAt !== null) continue;
      const result = JSON.stringify({ type: 'tool_result', tool_use_id: id, content: HIDDEN_BY_CRASH, is_error: true });
      transcript.calls.end({ turn, n }, { endedAt: now, isError: true, bytes: 0, result });
    }
    spent += step.cost;
    run.isCommitted ||= step.status !== 'failed';
    if (step.outcome) run.last = { outcome: step.outcome, delta: undefined };
    if (step.outcome?.usage) run.usages.push({ ...step.outcome.usage });
  }
  endRun(run, { kind: 'error', error }, { transcript, shown, spent, now, requestId: row.requestId });
}

/** @param frames the events that were stored of it */
function restoreStep(transcript: Transcript, row: TurnRow, shown: ShownRun, frames: readonly Frame[]): Turn {
  const builder = new MessageBuilder();
  for (const { data } of frames) {
    const event = parseObject(data) ?? {};
    // A call that was shown was not stored yet, so it is not made.
    if (!isOfEdge(event)) builder.take(event);
  }
  const unseenMs = unseenAtCrash(transcript, row, builder);
  const bytes = frames.reduce((sum, { data }) => sum + data.length, 0);
  const recovered = { log: new StepLog(shown, builder), builder, frames: new FrameReader(), bytes, unseenMs };
  const turn = new Turn(transcript, row, 1, { recovered, isLater: row.seq > (row.run ?? 0) + 1 });
  turn.progress.sentAt = row.sentAt ?? row.beganAt;
  turn.status = frames.length > 0 ? 200 : undefined;
  return turn;
}

function isOfEdge({ content_block: block }: Json): boolean {
  return isObject(block) && (block.server_name === EDGE || block.type === 'mcp_tool_result');
}
