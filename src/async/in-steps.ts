import { pause } from './pause.ts';

/** Work in steps. It yields how many bytes the next step takes in one piece. */
export type Steps<T> = Generator<number, T, undefined>;

/** Steps of more bytes than this are taken one at a time. */
const LONG_STEP = 8 * 1024 * 1024;
/** A millisecond for so many bytes leaves the others as much time as a long step takes. */
const BYTES_IN_A_MS = 100_000;
/** When the next long step may begin. A time cannot be left locked by somebody who leaves, as a lock can. */
let freeAt = 0;
/** Nobody waits longer, whatever the clock says: it may have been set back. */
const LONGEST_QUEUE_MS = 60_000;

/** How many texts are worked on in a step. A long one counts as several. */
export const TEXTS_IN_A_STEP = 500;
export const LONG_TEXT = 2_000;

/** Does the same with each text, in order. */
export function* withEach(texts: Iterable<string>, work: (text: string, index: number) => void): Steps<void> {
  let done = 0;
  let index = 0;
  for (const text of texts) {
    work(text, index);
    index += 1;
    done += 1 + text.length / LONG_TEXT;
    if (done < TEXTS_IN_A_STEP) continue;
    done = 0;
    yield text.length;
  }
}

/** Does work in steps, and lets the isolate's other requests work in between. @throws what the work throws */
export async function inSteps<T>(work: Steps<T>): Promise<T> {
  for (;;) {
    const { value, done } = work.next();
    if (done) return value;
    await pause(value > LONG_STEP ? waitForTurn(value) : 0);
  }
}

function waitForTurn(bytes: number): number {
  const now = Date.now();
  const at = Math.max(now, Math.min(freeAt, now + LONGEST_QUEUE_MS));
  freeAt = at + bytes / BYTES_IN_A_MS;
  return at - now;
}

/** Does work without a break. @throws what the work throws */
export function atOnce<T>(work: Steps<T>): T {
  for (;;) {
    const { value, done } = work.next();
    if (done) return value;
  }
}
