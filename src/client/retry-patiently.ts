import type { SluiceError } from './errors.ts';
import { computeBackoffMs, sleepUntilPageReturn } from './pause.ts';

/** The longest pause between two attempts, unless the edge requests a longer one. */
export const MAX_PAUSE_MS = 30_000;

/** Repeats some work, with pauses, while it fails in a way that may pass. */
export async function retryWithBackoff<T>(
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
      await sleepUntilPageReturn(computeBackoffMs(failures, (thrown.retryAfter ?? 0) * 1_000, MAX_PAUSE_MS), signal);
    }
  }
}
