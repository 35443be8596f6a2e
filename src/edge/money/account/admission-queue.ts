/**
 * Requests that wait for money which others hold: first come, first served. Small ones may pass a large one, while it still gets what
 * it waits for. It is only in memory, so it costs no row.
 */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { getOrMake } from '../../kit/cache/get-or-make.ts';
import { type BudgetWindow, leftInAll } from '../budget/budget-windows.ts';
import { CEILING } from '../budget/rules.ts';
import type { AdmissionDecision, Refusal } from '../contracts/admission.ts';

/** The most requests that wait in one account. The next one is refused at once. */
const MOST_WAITING = 200;
/** How often those who wait are looked at, even if nothing was settled here: pools, limits and windows change, too. */
const TICK_MS = 1_000;
/** Who passes another request holds at most this part (a sixteenth) of what is left for that one; so do all who pass it, together. */
const MOST_PASSING = 16;

/** Says whose money a request still waits for, in the form of `payers`, and for how much. */
interface StillHeld {
  outcome: 'held';
  by: string;
  needed: Nanodollars;
}

/** Those who wait for one of a request's payers, and came before it. */
export interface Ahead {
  /** Why the first of them waits. */
  refusal: Refusal;
  /** The most that the request may hold if it passes them. */
  mostPassing: Nanodollars;
  /** Notes that it has passed them. */
  pass(id: string, hold: Nanodollars): void;
}

/** A request in the line. */
export interface Waiting {
  id: string;
  /** Who pays for it, each by one word. */
  payers: readonly string[];
  /** Whose money it waits for now: one of its payers. */
  by: string;
  /** The least that it can hold, and how much it waits for. */
  least: Nanodollars;
  needed: Nanodollars;
  /** When it has waited long enough; milliseconds since 1970. */
  until: number;
  /** The answer if it leaves. */
  refused: Extract<AdmissionDecision, { outcome: 'refused' }>;
  /** Decides once more. @param isLast whether it has waited long enough. Then it is never told to wait */
  decide(isLast: boolean, ahead: () => Ahead | undefined): AdmissionDecision | StillHeld | Promise<AdmissionDecision>;
  /** @returns all limits in money that hold for it, as they are now */
  purses(): BudgetWindow[];
  /** Asks the pools that pay for it. It never throws: the next tick asks again, and the last decision says what failed. */
  askPools(): Promise<unknown>;
}

interface Place extends Waiting {
  answer: PromiseWithResolvers<AdmissionDecision>;
  /** What was left for it when it began to wait. */
  leftAtFirst: Nanodollars;
  /** What those hold who have passed it, and what they have cost since. */
  passers: Map<string, Nanodollars>;
  passed: Nanodollars;
}

export class AdmissionQueue {
  readonly #now: () => number;
  #places: Place[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param now the clock, in milliseconds since 1970 */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** @returns those who wait for one of these payers; undefined if nobody does. @param least what who comes needs at the least */
  countAhead(
    payers: readonly string[],
    least: Nanodollars,
    places: readonly Place[] = this.#places,
    mosts = new Map<Place, Nanodollars>(),
  ): Ahead | undefined {
    const passed: Place[] = [];
    let mostPassing = CEILING;
    for (const place of places) {
      if (!payers.includes(place.by)) continue;
      passed.push(place);
      mostPassing = Math.min(
        mostPassing,
        getOrMake(mosts, place, () => mostPast(place)),
      );
      // Those behind it cannot make it more.
      if (mostPassing < least) break;
    }
    const [first] = passed;
    if (!first) return undefined;
    const { refusal } = first.refused;
    const pass = (id: string, hold: Nanodollars) => {
      for (const { passers } of passed) passers.set(id, hold);
    };
    return { refusal, mostPassing, pass };
  }

  noteSettled(id: string, cost: Nanodollars): void {
    for (const place of this.#places) if (place.passers.delete(id)) place.passed += cost;
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
    this.#places.push({ ...waiting, answer, leftAtFirst: leftInAll(waiting.purses()), passers: new Map(), passed: 0 });
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

  /** Admits those for whom enough is left now, in their order. Waits for nothing. */
  move(): void {
    if (this.#places.length === 0) return;
    const now = this.#now();
    const held: Place[] = [];
    const mosts = new Map<Place, Nanodollars>();
    for (const place of [...this.#places]) {
      const isLast = now >= place.until;
      // Who asks a pool at the last is decided on later, when others have come into both.
      const [before, amounts] = isLast ? [[...held]] : [held, mosts];
      const ahead = () => this.countAhead(place.payers, place.least, before, amounts);
      try {
        if (!isLast && place.least > (ahead()?.mostPassing ?? place.least)) {
          held.push(place);
          continue;
        }
        const decision = place.decide(isLast, ahead);
        if ('by' in decision) {
          place.by = decision.by;
          place.needed = decision.needed;
          held.push(place);
          continue;
        }
        // What it holds now is not left for others any more.
        mosts.clear();
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
    // Nobody stands behind it any more.
    place.by = '';
    this.#places = this.#places.filter((one) => one !== place);
  }
}

/** @returns the most that a request may hold that passes another one: that one must still get what it waits for */
function mostPast({ purses, leftAtFirst, passers, passed, needed }: Place): Nanodollars {
  const all = purses();
  let held = 0;
  for (const hold of passers.values()) held += hold;
  const unspent = Math.min(...all.map(({ most, settled }) => most - settled));
  return Math.min(
    Math.floor(leftInAll(all) / MOST_PASSING),
    Math.floor(leftAtFirst / MOST_PASSING) - passed - held,
    unspent - held - needed,
  );
}
