const INITIAL_BACKOFF_MS = 250;
const MAX_BACKOFF_PAUSE_MS = 8_000;

interface PageVisibilityTarget {
  addEventListener?(type: string, listener: () => void): void;
  removeEventListener?(type: string, listener: () => void): void;
  document?: PageVisibilityTarget & { visibilityState: string };
}

/**
 * Calls a function when a page should check its connections: it is online again, or visible again. Outside a page it never
 * does.
 *
 * @returns a function that ends this
 */
export function onPageReturn(call: (why: 'online' | 'visible') => void): () => void {
  const page = globalThis as PageVisibilityTarget;
  const { document } = page;
  if (!document) return () => {};
  const onOnline = () => call('online');
  const onVisible = () => {
    if (document.visibilityState === 'visible') call('visible');
  };
  page.addEventListener?.('online', onOnline);
  document.addEventListener?.('visibilitychange', onVisible);
  return () => {
    page.removeEventListener?.('online', onOnline);
    document.removeEventListener?.('visibilitychange', onVisible);
  };
}

/**
 * Computes the pause before the next attempt: twice as long each time, with jitter.
 *
 * @param attempt the number of attempts before, from 0
 * @param leastMs the time that the edge has asked to wait
 * @param mostMs the longest pause
 * @returns milliseconds
 */
export function computeBackoffMs(attempt: number, leastMs: number, mostMs = MAX_BACKOFF_PAUSE_MS): number {
  const most = Math.min(mostMs, INITIAL_BACKOFF_MS * 2 ** attempt);
  return Math.max(leastMs, most * (0.5 + Math.random() / 2));
}

/** Waits, and no longer once the page is online or visible again. */
export async function sleepUntilPageReturn(ms: number, signal?: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const endPause = () => {
      clearTimeout(timer);
      forget();
      signal?.removeEventListener('abort', endPause);
      resolve();
    };
    const timer = setTimeout(endPause, ms);
    const forget = onPageReturn(endPause);
    signal?.addEventListener('abort', endPause);
    if (signal?.aborted) endPause();
  });
}
