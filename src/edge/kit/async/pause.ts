/** Waits for some milliseconds. @throws the reason of the signal when it is aborted meanwhile */
export function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const rejectWithAbortReason = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', rejectWithAbortReason);
      resolve();
    }, milliseconds);
    if (signal?.aborted) rejectWithAbortReason();
    else signal?.addEventListener('abort', rejectWithAbortReason, { once: true });
  });
}

/**
 * @returns a time up to a quarter longer or shorter, so that requests that were rejected together do not come back together.
 */
export function addJitter(milliseconds: number): number {
  return milliseconds * (0.75 + Math.random() / 2);
}
