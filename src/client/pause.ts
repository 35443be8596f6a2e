const FIRST_MS = 250;
const MOST_MS = 8_000;

interface VisiblePage {
  addEventListener?(type: string, listener: () => void): void;
  removeEventListener?(type: string, listener: () => void): void;
  document?: VisiblePage & { visibilityState: string };
}

/**
 * Calls when a page has reason to look after its connections: it is online again, or is seen again. Elsewhere never.
 *
 * @returns what ends it
 */
export function onReturn(call: (why: 'online' | 'visible') => void): () => void {
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
 * Waits before the next attempt, twice as long each time and never twice the same; a page that is back waits no longer.
 *
 * @param attempt from 0
 * @param leastMs what the edge has asked for
 */
export async function pause(attempt: number, leastMs: number, signal: AbortSignal): Promise<void> {
  const most = Math.min(MOST_MS, FIRST_MS * 2 ** attempt);
  const wait = Math.max(leastMs, most * (0.5 + Math.random() / 2));
  await new Promise<void>((resolve) => {
    const end = () => {
      clearTimeout(timer);
      forget();
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, wait);
    const forget = onReturn(end);
    signal.addEventListener('abort', end);
    if (signal.aborted) end();
  });
}
