/** Decides what an object does with its stored and remembered times when its clock goes back. */
import { MINUTE_MS } from './durations.ts';

/** After a smaller correction, the object keeps its last time until the clock has reached it again. Milliseconds. */
const MAX_CORRECTION_MS = MINUTE_MS;

/** @returns whether the clock was wrong when it showed `earlier`, because it shows a much earlier time now. Milliseconds since 1970 */
export function wasClockAhead(earlier: number, now: number): boolean {
  return earlier - now > MAX_CORRECTION_MS;
}

/** @returns the time to decide by: never earlier than `last`, unless the clock was ahead at that time */
export function advanceTime(last: number, now: number): number {
  return wasClockAhead(last, now) ? now : Math.max(last, now);
}

/**
 * Corrects a deadline, or another time in the future.
 *
 * @param last the time at which the clock was ahead
 * @returns a time that was set by the clock that was ahead, moved back by as much; any other time unchanged
 */
export function correctTime(time: number, last: number, now: number): number {
  const aheadMs = last - now;
  return wasClockAhead(last, now) && time - now > aheadMs / 2 ? time - aheadMs : time;
}
