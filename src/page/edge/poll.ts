import type { Signal } from '@preact/signals';
import { formatErrorForUser } from './client.ts';

const POLL_NOW = 'now';
const pollRequests = new EventTarget();

/** Runs all polls at once. */
export function refreshAllPolls(): void {
  pollRequests.dispatchEvent(new Event(POLL_NOW));
}

/**
 * Sends a request at once, and again after each response, while the page is visible.
 *
 * @param ask `isCurrent` returns whether its response is still needed
 * @param everyMs the pause between a response and the next request, in milliseconds
 * @param fault gets the error of the last request; without it `ask` must not reject
 * @returns a function that stops the polling
 */
export function pollWhileVisible(
  ask: (isCurrent: () => boolean) => Promise<unknown>,
  everyMs: number,
  fault?: Signal<string | undefined>,
): () => void {
  let stopped = false;
  let asking = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const pollOnce = async () => {
    if (asking) return;
    asking = true;
    clearTimeout(timer);
    try {
      if (document.visibilityState === 'visible') await ask(() => !stopped);
      if (fault && !stopped) fault.value = undefined;
    } catch (thrown) {
      if (!fault) throw thrown;
      if (!stopped) fault.value = formatErrorForUser(thrown);
    }
    asking = false;
    if (!stopped) timer = setTimeout(() => void pollOnce(), everyMs);
  };
  const startPollRound = () => void pollOnce();
  startPollRound();
  pollRequests.addEventListener(POLL_NOW, startPollRound);
  return () => {
    stopped = true;
    pollRequests.removeEventListener(POLL_NOW, startPollRound);
    clearTimeout(timer);
  };
}

/** Polls, and keeps the response in a signal. */
export function pollIntoSignal<T>(
  target: Signal<T>,
  read: () => Promise<T>,
  everyMs: number,
  fault: Signal<string | undefined>,
): () => void {
  const readIntoSignal = async (isCurrent: () => boolean) => {
    const value = await read();
    if (isCurrent()) target.value = value;
  };
  return pollWhileVisible(readIntoSignal, everyMs, fault);
}
