import type { Steps } from '#edge/kit/async/in-steps.ts';

/** Does work in steps without a break. @throws what the work throws */
export function atOnce<T>(work: Steps<T>): T {
  for (;;) {
    const { value, done } = work.next();
    if (done) return value;
  }
}
