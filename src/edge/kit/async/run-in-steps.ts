import { pause } from './pause.ts';

/**
 * Work in steps. Before each unit of work, a row, a statement or a text, it yields how many bytes that unit takes. The pacer
 * decides where a stretch ends.
 */
export type SteppedWork<T> = Generator<number, T, undefined>;

/**
 * A slice ends after this many units, or so many bytes, whichever is first. It is counted: the clock stands still in a deployed
 * Worker while it works, and a row costs the same however short it is. Rows are read and written many at a time, so that a
 * hundred take a millisecond or two.
 */
const MAX_UNITS_PER_SLICE = 100;
const MAX_BYTES_PER_SLICE = 65_536;
/** How long a stretch has the isolate for itself among other paced work, and so many bytes more in one piece. */
const SLICE_MS = 2;
const BYTES_PER_MS = 100_000;
/** The maximum time in the queue. A longer one means that the clock was set back. */
const MAX_QUEUE_MS = 60_000;
/**
 * When the next stretch of any work in this isolate may begin. A time cannot be left locked by a request that was dropped, as a
 * lock can, and no request waits for what belongs to another one, which workerd does not allow.
 */
let nextSliceAt = 0;

/** Counts the units of one piece of work, and lets other work run after each slice. */
export class WorkPacer {
  #sliceUnits = 0;
  #sliceBytes = 0;
  /** The end of this work's last stretch. */
  #lastSliceEnd = 0;

  /** Counts a unit before it is done. @returns when it may be done; undefined for at once */
  waitForTurn(bytes: number): Promise<void> | undefined {
    this.#sliceUnits += 1;
    this.#sliceBytes += bytes;
    if (this.#sliceUnits <= MAX_UNITS_PER_SLICE && this.#sliceBytes <= MAX_BYTES_PER_SLICE) return undefined;
    this.#sliceUnits = 1;
    this.#sliceBytes = bytes;
    return pause(this.#reserveSlice(bytes));
  }

  /** @returns the milliseconds until this work may continue: 0 if no other work has run since its last slice */
  #reserveSlice(bytes: number): number {
    const now = Date.now();
    const isFirst = nextSliceAt === this.#lastSliceEnd || nextSliceAt > now + MAX_QUEUE_MS;
    const at = isFirst ? now : Math.max(now, nextSliceAt);
    nextSliceAt = at + SLICE_MS + (bytes > MAX_BYTES_PER_SLICE ? bytes / BYTES_PER_MS : 0);
    this.#lastSliceEnd = nextSliceAt;
    return at - now;
  }
}

/** Runs work in steps without a pause. @throws what the work throws */
export function runAtOnce<T>(work: SteppedWork<T>): T {
  for (;;) {
    const { value, done } = work.next();
    if (done) return value;
  }
}

/** Runs the same work with each text, in order. */
export function* forEachInSteps(
  texts: Iterable<string>,
  work: (text: string, index: number) => void,
): SteppedWork<void> {
  let index = 0;
  for (const text of texts) {
    yield text.length;
    work(text, index);
    index += 1;
  }
}

/** Runs work in steps, and lets the isolate's other requests run in between. @throws what the work throws */
export async function runInSteps<T>(work: SteppedWork<T>, pacer = new WorkPacer()): Promise<T> {
  for (;;) {
    const { value, done } = work.next();
    if (done) return value;
    const turn = pacer.waitForTurn(value);
    if (turn) await turn;
  }
}
