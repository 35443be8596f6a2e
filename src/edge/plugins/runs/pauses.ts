/** The interface between approvals and runs, for runs that pause before tool calls. */

import type { TurnRow } from '../../conversations/history/storage/rows.ts';
import type { Transcript } from '../../conversations/history/storage/transcript.ts';
import type { JsonObject } from '../../kit/json/object.ts';
import type { ApproverRole } from '../../registry/tools/tool-kind.ts';
import type { SubagentBudgetShare } from './call-rows.ts';
import type { RunStream } from './run-stream.ts';
import type { ToolResult } from './tool-result.ts';
import type { TurnEvent } from './turn-events.ts';

/** A run that pauses before calls. */
export interface RunPausingForApproval {
  transcript: Transcript;
  row: TurnRow;
  /** Which callers may decide on calls that need an approval. */
  approvers: ApproverRole;
  now(): number;
  /** Stores an event of the run, and begins to send it. */
  storeEvent<Members extends object>(event: TurnEvent<Members>, members: Members): void;
}

/** A call that will be made. */
export interface PlannedCall {
  /** The number of the step whose answer called it, and which of its calls this is. */
  turn: number;
  n: number;
  block: JsonObject;
  tries: number;
  /** The share of a subagent that was begun before a crash. */
  subagent?: SubagentBudgetShare | undefined;
  /** If it was begun before a crash: how long ago, in milliseconds. */
  idleMs?: number;
  /** Whether a person has approved it. */
  isApproved?: boolean;
  /** A note that is added before the result for the model. */
  note?: string;
}

/** The calls of a step that are to be made, and whether the step also called tools of the client. */
export interface CallsToMake {
  calls: PlannedCall[];
  asksClient: boolean;
}

/** A run that continues with the calls of a paused run. */
export interface RunContinuingAfterPause extends Pick<RunPausingForApproval, 'transcript' | 'row' | 'now'> {
  shown: RunStream;
  /** Stores and shows a result for a call that is not made. */
  storeAndShowResult(call: PlannedCall, result: ToolResult): void;
}
