import type { SluiceError } from './errors.ts';
import { pause, pauseBefore } from './pause.ts';

/** The longest pause between two tries, unless the edge asks for a longer one. */
export const MOST_PAUSE_MS = 30_000;

/** Does some work again while it fails in a way that may pass, with pauses. */
export async function patiently<T>(
  work: () => Promise<T>,
  mayPassAway: (thrown: unknown) => thrown is SluiceError,
  most: number,
  signal?: AbortSignal,
): Promise<T> {
  for (let failures = 0; ; failures += 1) {
    try {
      return await work();
    } catch (thrown) {
      if (!mayPassAway(thrown) || failures >= most) throw thrown;
      await pause(pauseBefore(failures, (thrown.retryAfter ?? 0) * 1_000, MOST_PAUSE_MS), signal);
    }
  }
}
