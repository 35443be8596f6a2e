import type { Steps } from '#edge/kit/async/run-in-steps.ts';

/** Does work in steps without a break. @throws what the work throws */
export function runWithoutBreaks<T>(work: Steps<T>): T {
  for (;;) {
    const { value, done } = work.next();
    if (done) return value;
  }
}
