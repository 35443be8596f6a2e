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
/** A millisecond for so many bytes in one piece leaves the others as much time as they take. */
const BYTES_IN_A_MS = 100_000;
/** Nobody sleeps longer, in milliseconds, whatever the clock says: it may have been set back. */
const LONGEST_SLEEP_MS = 1_000;
/** Who is far behind need not look at every turn, but the others may leave. */
const LONGEST_QUEUE_MS = 50;

/** How many turns were asked for in this isolate. */
let asked = 0;
/**
 * The turns that are waited for, and until when each sleeps. There is no lock that a request which was dropped could leave: whose
 * time has passed, and who has not been awake when another looks again, has left, and so have all whose time had passed then. Who
 * was only slow comes back to its place.
 */
const waiting = new Map<number, { until: number }>();
/** Until when a long piece leaves time to the others, and whose it was. */
let rest: { until: number; of: Pacer } | undefined;

/** Counts the units of one piece of work, and lets others come first behind each stretch. */
export class Pacer {
  #units = 0;
  #bytes = 0;

  /** Counts a unit before it is done. @returns when it may be done; undefined for at once */
  before(bytes: number): Promise<void> | undefined {
    this.#units += 1;
    this.#bytes += bytes;
    if (this.#units <= UNITS_IN_A_STRETCH && this.#bytes <= BYTES_IN_A_STRETCH) return undefined;
    this.#units = 1;
    this.#bytes = bytes;
    return this.#turn(bytes);
  }

  /** Waits until all who asked before have had their turn, and then until what has come in meanwhile was heard. */
  async #turn(bytes: number): Promise<void> {
    asked += 1;
    const mine = asked;
    let late: { until: number } | undefined;
    let looked = 0;
    for (let first: number | undefined; first !== mine; ) {
      first = Math.min(mine, ...waiting.keys());
      const resting = rest && rest.of !== this ? asleep(rest.until) : 0;
      const front = asleep(waiting.get(first)?.until ?? 0);
      const sleep = Math.max(resting, front, Math.min((mine - first) >> 1, LONGEST_QUEUE_MS));
      waiting.set(mine, { until: Date.now() + sleep });
      await pause(sleep);
      const left = waiting.get(first);
      if (left && left === late) {
        for (const [turn, { until }] of waiting) if (turn === first || until <= looked) waiting.delete(turn);
      }
      late = left && asleep(left.until) === 0 ? left : undefined;
      looked = Date.now();
    }
    waiting.delete(mine);
    if (bytes > BYTES_IN_A_STRETCH) rest = { until: Date.now() + bytes / BYTES_IN_A_MS, of: this };
  }
}

/** @returns for how many milliseconds somebody sleeps who wakes at a time */
function asleep(until: number): number {
  const left = until - Date.now();
  return left > LONGEST_SLEEP_MS ? 0 : Math.max(left, 0);
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
