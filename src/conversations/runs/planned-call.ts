import type { Json } from '../../json/object.ts';

/** A call that is to be made. */
export interface PlannedCall {
  /** The number of the step whose answer called it, and which of its calls this is. */
  turn: number;
  n: number;
  block: Json;
  tries: number;
  /** Whether a person has approved it. */
  isApproved?: boolean;
  /** What the model is told before its result. */
  note?: string;
}
