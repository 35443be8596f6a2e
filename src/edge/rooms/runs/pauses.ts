/** What makes a run pause before a call. Runs ask it, and know no room that has calls wait. */

import { ofRooms, pluggedInto, seam } from '../../kit/rooms/rooms.ts';
import type { ApprovalRow } from '../../talk/storage/approval-rows.ts';
import type { TurnRow } from '../../talk/storage/rows.ts';
import type { PlannedCall } from './planned-call.ts';
import type { RunContext } from './run-context.ts';
import type { ToolRun } from './runs.schema.ts';

/** Has calls wait until somebody has decided. */
export interface Pause {
  /** @returns whether a call of a tool waits */
  holds(tool: ToolRun | undefined, input: unknown): boolean;
  /** @returns a call as it was decided */
  released(call: PlannedCall, decided: ApprovalRow): PlannedCall;
  /** Stores that calls wait. Call it in the step in which their run pauses. */
  request(calls: readonly PlannedCall[], run: RunContext & { row: TurnRow }): void;
}
export const PAUSES = seam<Pause>()('pause');

/** @returns what has calls wait; undefined where its room is not in use */
export const pauseInUse = ofRooms(() => pluggedInto(PAUSES).at(0));

/** @returns whether nobody could approve the calls of a tool that wait: then none is made */
export function isUndecidable(tool: ToolRun): boolean {
  return tool.approval !== undefined && !pauseInUse();
}
