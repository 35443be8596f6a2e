/** Knows which requests of this isolate still work: what they settle late would come to another test. */
import { createExecutionContext } from 'cloudflare:test';

const going = new Set<Promise<unknown>>();

/** Notes work until it has ended, however it ends. @returns the work itself */
export function inFlight<T>(work: Promise<T>): Promise<T> {
  const ended = () => void going.delete(noted);
  const noted = work.then(ended, ended);
  going.add(noted);
  return work;
}

/** An execution context whose work behind the answer is noted. */
export function trackedContext(): ExecutionContext {
  const context = createExecutionContext();
  const waitUntil = context.waitUntil.bind(context);
  context.waitUntil = (work) => waitUntil(inFlight(Promise.resolve(work)));
  return context;
}

/**
 * Waits until no request works any more. What a test has left for ever, such as an answer that nobody reads, is given up.
 *
 * @param mostMs how long it waits, in milliseconds
 */
export async function nothingInFlight(mostMs: number): Promise<void> {
  const end = Date.now() + mostMs;
  while (going.size > 0 && Date.now() < end) {
    await Promise.race([Promise.all(going), scheduler.wait(end - Date.now())]);
  }
  going.clear();
}
