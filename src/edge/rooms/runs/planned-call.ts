import type { Json } from '../../kit/json/object.ts';
import type { SubagentShare } from '../../talk/storage/call-rows.ts';

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
