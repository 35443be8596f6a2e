/** What makes a run pause before a call. Runs ask it, and know no room that has calls wait. */

import { invalidRequest } from '../../kit/http/errors.ts';
import { isObject } from '../../kit/json/object.ts';
import { ofRooms, pluggedOne, singleSeam } from '../../kit/rooms/rooms.ts';
import { type ApprovalRow, type Approvers, DECIDING_ROOM } from '../../talk/storage/approval-rows.ts';
import type { TurnRow } from '../../talk/storage/rows.ts';
import type { Transcript } from '../../talk/storage/transcript.ts';
import type { TurnEvent } from '../../talk/turn/turn-event.ts';
import type { PlannedCall } from './planned-call.ts';
import type { ToolRun } from './runs.schema.ts';

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
  return approval === undefined || pauseInUse()
    ? undefined
    : `its calls wait, and this edge has no room "${DECIDING_ROOM}".`;
}

/** @throws ApiError 400 for a tool whose calls would wait, where nobody could decide */
export function refuseUndecidable(tools: unknown): void {
  for (const [index, tool] of Array.isArray(tools) ? tools.entries() : []) {
    const lacking = isObject(tool) && isObject(tool.run) && lacksPause(tool.run);
    if (lacking) throw invalidRequest(`tools.${index}.run.approval: ${lacking}`);
  }
}
