import type { Json } from '../../json/object.ts';
import type { SubagentShare } from '../storage/call-rows.ts';

/** A call that is to be made. */
export interface PlannedCall {
  /** The number of the step whose answer called it, and which of its calls this is. */
  turn: number;
  n: number;
  block: Json;
  tries: number;
  /** The share of a subagent that was begun before a crash. */
  subagent?: SubagentShare | undefined;
  /** How long ago it was begun before a crash, in milliseconds. */
  idleMs?: number;
  /** Whether a person has approved it. */
  isApproved?: boolean;
  /** What the model is told before its result. */
  note?: string;
}
