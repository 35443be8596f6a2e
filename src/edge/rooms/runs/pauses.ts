/** What makes a run pause before a call. Runs ask it, and know no room that has calls wait. */
import { isObject, type Json } from '../../kit/json/object.ts';
import { ofRooms, pluggedOne, singleSeam } from '../../kit/rooms/rooms.ts';
import type { Approvers, ToolRun } from '../../talk/contracts/tool-kind.ts';
import type { TurnRow } from '../../talk/storage/rows.ts';
import type { Transcript } from '../../talk/storage/transcript.ts';
import type { ApprovalRow } from './approvals/approval-rows.ts';
import type { SubagentShare } from './call-rows.ts';
import type { ShownRun } from './shown-run.ts';
import type { ToolResult } from './tool-result.ts';
import type { TurnEvent } from './turn-events.ts';

/** A run that pauses before calls. */
export interface PausingRun {
  transcript: Transcript;
  row: TurnRow;
  /** Who decides on calls that need an approval. */
  approvers: Approvers;
  now(): number;
  /** Stores an event of the run, and begins to send it. */
  tell<Members extends object>(event: TurnEvent<Members>, members: Members): void;
}

/** A call that will be made. */
export interface PlannedCall {
  /** The number of the step whose answer called it, and which of its calls this is. */
  turn: number;
  n: number;
  block: Json;
  tries: number;
  /** The share of a subagent that was begun before a crash. */
  subagent?: SubagentShare | undefined;
  /** If it was begun before a crash: how long ago, in milliseconds. */
  idleMs?: number;
  /** Whether a person has approved it. */
  isApproved?: boolean;
  /** A note that the model reads before the result. */
  note?: string;
}

/** The calls of a step that are to be made, and whether the step also called tools of the client. */
export interface TakenUpCalls {
  calls: PlannedCall[];
  asksClient: boolean;
}

/** A run that goes on with the calls of a paused one. */
export interface TakingRun extends Pick<PausingRun, 'transcript' | 'row' | 'now'> {
  shown: ShownRun;
  /** Stores and shows a result for a call that is not made. */
  answer(call: PlannedCall, result: ToolResult): void;
}

/** Has calls wait until somebody has decided. */
export interface Pause {
  /** @returns whether a call of a tool waits */
  holds(tool: ToolRun | undefined, input: unknown): boolean;
  released(call: PlannedCall, decided: ApprovalRow): PlannedCall;
  /** Stores that calls wait. Call it in the step in which their run pauses. */
  request(calls: readonly PlannedCall[], run: PausingRun): void;
}
export const PAUSES = singleSeam<Pause>()('pause');

/** @returns what has calls wait; undefined where its room is not in use */
export const pauseInUse = ofRooms(() => pluggedOne(PAUSES));

/** @returns why no call of a tool is made: nobody could decide on those that wait; undefined if that is no reason */
export function lacksPause({ approval }: { approval?: unknown }): string | undefined {
  return approval === undefined || pauseInUse() ? undefined : 'its calls wait, and this edge has no room "approvals".';
}

/** @returns what is wrong with a tool whose calls would wait, where nobody could decide. @param run its own */
export function faultOfPause(run: unknown): string | undefined {
  const lacking = isObject(run) && lacksPause(run);
  return lacking ? `run.approval: ${lacking}` : undefined;
}
