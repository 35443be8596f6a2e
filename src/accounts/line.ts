/** Requests that wait for money which others hold: first come, first served. It is only in memory, so it costs no row. */

import type { AdmissionDecision, Refusal } from '../durable/contracts/admission.ts';

/** The most requests that wait in one account. The next one is refused at once. */
const MOST_WAITING = 200;
/** How often those who wait are looked at, even if nothing was settled here: pools, limits and windows change, too. */
const TICK_MS = 1_000;

/** Says whose money a request still waits for, in the form of `payers`. */
interface StillHeld {
  outcome: 'held';
  by: string;
}

/** A request in the line. */
export interface Waiting {
  id: string;
  /** Who pays for it, each by one word. Nobody overtakes a request that waits for the same payer. */
  payers: readonly string[];
  /** Whose money it waits for now: one of its payers. */
  by: string;
  /** When it has waited long enough; milliseconds since 1970. */
  until: number;
  /** The answer if it leaves. */
  refused: Extract<AdmissionDecision, { outcome: 'refused' }>;
  /** Decides once more. @param isLast whether it has waited long enough. Then it is never told to wait */
  decide(isLast: boolean): AdmissionDecision | StillHeld;
  /** Asks the pools that pay for it. It never throws: the next tick asks again, and the last decision says what failed. */
  askPools(): Promise<unknown>;
}

interface Place extends Waiting {
  answer: PromiseWithResolvers<AdmissionDecision>;
}

/** The line of one account. */
export class Line {
  readonly #now: () => number;
  #places: Place[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param now the clock, in milliseconds since 1970 */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** @returns why the first ones wait, by the payer whose money is held; undefined if nobody waits. */
  get refusals(): ReadonlyMap<string, Refusal> | undefined {
    if (this.#places.length === 0) return undefined;
    return new Map([...this.#places].reverse().map(({ by, refused }) => [by, refused.refusal]));
  }

  /** @returns whether nobody else may join. */
  get isFull(): boolean {
    return this.#places.length >= MOST_WAITING;
  }

  /** @returns the answer to a request that waits already; undefined if it does not. */
  find(id: string): Promise<AdmissionDecision> | undefined {
    return this.#places.find((place) => place.id === id)?.answer.promise;
  }

  /** Lets a request wait. @returns the decision, as soon as it is not held up by others any more */
  join(waiting: Waiting): Promise<AdmissionDecision> {
    const answer = Promise.withResolvers<AdmissionDecision>();
    this.#places.push({ ...waiting, answer });
    this.#timer ??= setTimeout(this.#tick, TICK_MS);
    return answer.promise;
  }

  /** Takes a request out of the line. @returns whether it was there */
  leave(id: string): boolean {
    const place = this.#places.find((one) => one.id === id);
    if (!place) return false;
    this.#remove(place);
    place.answer.resolve(place.refused);
    return true;
  }

  /** Admits those for whom there is room now, in their order. Waits for nothing. */
  move(): void {
    if (this.#places.length === 0) return;
    const now = this.#now();
    const held = new Set<string>();
    for (const place of [...this.#places]) {
      const isLast = now >= place.until;
      if (!isLast && place.payers.some((payer) => held.has(payer))) continue;
      try {
        const decision = place.decide(isLast);
        if (decision.outcome === 'held') {
          place.by = decision.by;
          held.add(decision.by);
          continue;
        }
        place.answer.resolve(decision);
      } catch (thrown) {
        // What is wrong with one request must not stop the others.
        place.answer.reject(thrown);
      }
      this.#remove(place);
    }
  }

  readonly #tick = () => {
    this.move();
    this.#timer = this.#places.length > 0 ? setTimeout(this.#tick, TICK_MS) : undefined;
    // A pool that does not answer holds up only those who wait for it, and they leave when their time is over.
    void Promise.all(this.#places.map((place) => place.askPools())).then(() => this.move());
  };

  #remove(place: Place): void {
    this.#places = this.#places.filter((one) => one !== place);
  }
}
