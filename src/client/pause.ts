const INITIAL_BACKOFF_MS = 250;
const MAX_BACKOFF_PAUSE_MS = 8_000;

interface VisiblePage {
  addEventListener?(type: string, listener: () => void): void;
  removeEventListener?(type: string, listener: () => void): void;
  document?: VisiblePage & { visibilityState: string };
}

/**
 * Calls a function when a page should check its connections: it is online again, or visible again. Outside a page it never
 * does.
 *
 * @returns a function that ends this
 */
export function onPageReturn(call: (why: 'online' | 'visible') => void): () => void {
  const page = globalThis as VisiblePage;
  const { document } = page;
  if (!document) return () => {};
  const online = () => call('online');
  const visible = () => {
    if (document.visibilityState === 'visible') call('visible');
  };
  page.addEventListener?.('online', online);
  document.addEventListener?.('visibilitychange', visible);
  return () => {
    page.removeEventListener?.('online', online);
    document.removeEventListener?.('visibilitychange', visible);
  };
}

/**
 * Says how long to wait before the next attempt: twice as long each time, with jitter.
 *
 * @param attempt the number of attempts before, from 0
 * @param leastMs the time that the edge has asked to wait
 * @param mostMs the longest pause
 * @returns milliseconds
 */
export function pauseBeforeAttempt(attempt: number, leastMs: number, mostMs = MAX_BACKOFF_PAUSE_MS): number {
  const most = Math.min(mostMs, INITIAL_BACKOFF_MS * 2 ** attempt);
  return Math.max(leastMs, most * (0.5 + Math.random() / 2));
}

/** Waits, and no longer once the page is online or visible again. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const end = () => {
      clearTimeout(timer);
      forget();
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    const forget = onPageReturn(end);
    signal?.addEventListener('abort', end);
    if (signal?.aborted) end();
  });
}
