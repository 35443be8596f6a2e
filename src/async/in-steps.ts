import { pause } from './pause.ts';

/**
 * Work in steps. Before each unit of work, a row, a statement or a text, it yields how many bytes that unit takes. The pacer
 * decides where a stretch ends.
 */
export type Steps<T> = Generator<number, T, undefined>;

/**
 * A stretch ends behind so many units, or so many bytes, whichever is first. It is counted: the clock stands still in a
 * deployed Worker while it works, and a row costs the same however short it is.
 */
const UNITS_IN_A_STRETCH = 50;
const BYTES_IN_A_STRETCH = 65_536;
/** What a stretch takes at most, and what so many more bytes in one piece take. Others get as much time. */
const STRETCH_MS = 4;
const BYTES_IN_A_MS = 100_000;
/** Nobody waits longer, whatever the clock says: it may have been set back. */
const LONGEST_QUEUE_MS = 60_000;
/**
 * When the next stretch of any work in this isolate may begin. A time cannot be left locked by somebody who leaves, as a lock
 * can.
 */
let freeAt = 0;

/** Counts the units of one piece of work, and lets others come first behind each stretch. */
export class Pacer {
  #units = 0;
  #bytes = 0;
  /** The end of this work's last stretch. */
  #until = 0;

  /** Counts a unit before it is done. @returns when it may be done; undefined for at once */
  before(bytes: number): Promise<void> | undefined {
    this.#units += 1;
    this.#bytes += bytes;
    if (this.#units <= UNITS_IN_A_STRETCH && this.#bytes <= BYTES_IN_A_STRETCH) return undefined;
    this.#units = 1;
    this.#bytes = bytes;
    return pause(this.#turn(bytes));
  }

  /** @returns in how many milliseconds this work may go on. Where no other work has taken a turn meanwhile it need not wait. */
  #turn(bytes: number): number {
    const now = Date.now();
    const at = freeAt === this.#until ? now : Math.max(now, Math.min(freeAt, now + LONGEST_QUEUE_MS));
    freeAt = at + STRETCH_MS + bytes / BYTES_IN_A_MS;
    this.#until = freeAt;
    return at - now;
  }
}

/** Does the same with each text, in order. */
export function* withEach(texts: Iterable<string>, work: (text: string, index: number) => void): Steps<void> {
  let index = 0;
  for (const text of texts) {
    yield text.length;
    work(text, index);
    index += 1;
  }
}

/** Does work in steps, and lets the isolate's other requests work in between. @throws what the work throws */
export async function inSteps<T>(work: Steps<T>, pacer = new Pacer()): Promise<T> {
  for (;;) {
    const { value, done } = work.next();
    if (done) return value;
    const turn = pacer.before(value);
    if (turn) await turn;
  }
}
