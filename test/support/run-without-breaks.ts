import type { SteppedWork } from '#edge/kit/async/run-in-steps.ts';

/** Does work in steps without a break. @throws what the work throws */
export function runWithoutBreaks<T>(work: SteppedWork<T>): T {
  for (;;) {
    const { value, done } = work.next();
    if (done) return value;
  }
}
