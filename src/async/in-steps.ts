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
/** Nobody rests longer, in milliseconds, whatever the clock says: it may have been set back. */
const LONGEST_REST_MS = 1_000;
/** Who waits looks so often whether those in front are still there. */
const PATIENCE_MS = 50;

/** A turn that is waited for. */
interface Turn {
  wake(): void;
  /** When it looks again at the latest, in milliseconds since 1970. */
  until: number;
}

/**
 * The turns that are waited for, in order. Each wakes the next. There is no lock that a request which was dropped could leave:
 * who has not looked when it should have has left.
 */
const turns: Turn[] = [];
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
    const mine: Turn = { wake: () => {}, until: 0 };
    turns.push(mine);
    while (turns[0] !== mine && turns.includes(mine)) {
      mine.until = Date.now() + PATIENCE_MS;
      let timer: ReturnType<typeof setTimeout> | undefined;
      await new Promise<void>((resolve) => {
        mine.wake = resolve;
        timer = setTimeout(resolve, PATIENCE_MS);
      });
      clearTimeout(timer);
      const gone = turns.filter((one) => one !== mine && hasLeft(one));
      for (const one of gone) endTurn(one);
    }
    const resting = rest && rest.of !== this ? Math.max(0, rest.until - Date.now()) : 0;
    const sleep = resting > LONGEST_REST_MS ? 0 : resting;
    mine.until = Date.now() + sleep;
    await pause(sleep);
    endTurn(mine);
    if (bytes > BYTES_IN_A_STRETCH) rest = { until: Date.now() + bytes / BYTES_IN_A_MS, of: this };
  }
}

function hasLeft({ until }: Turn): boolean {
  const late = Date.now() - until;
  return late >= PATIENCE_MS || late < -LONGEST_REST_MS;
}

/** Takes a turn out of the line, and wakes who is in front now. */
function endTurn(turn: Turn): void {
  const at = turns.indexOf(turn);
  if (at >= 0) turns.splice(at, 1);
  turns[0]?.wake();
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
