/**
 * Requests that wait for money which others hold: first come, first served. Small ones may pass a large one, while it still gets what
 * it waits for. It is only in memory, so it costs no row.
 */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import { type BudgetWindow, computeMinAmountLeft } from '../budget/budget-windows.ts';
import { CEILING } from '../budget/rules.ts';
import type { AdmissionDecision, LimitRejection } from '../contracts/admission.ts';

/** The most requests that wait in one account, and that are known to have left. The next one to wait is refused at once. */
const MAX_WAITING = 200;
/** How often those who wait are looked at, even if nothing was settled here: pools, limits and windows change, too. */
const TICK_MS = 1_000;
/** Who passes another request holds at most this part (a sixteenth) of what is left for that one; so do all who pass it, together. */
const PASSING_DIVISOR = 16;

/** Says whose money a request still waits for, in the form of `payers`, and for how much. */
interface StillWaitingDecision {
  outcome: 'held';
  by: string;
  needed: Nanodollars;
}

/** Those who wait for one of a request's payers, and came before it. */
export interface QueuedRequestsAhead {
  /** Why the first of them waits. */
  refusal: LimitRejection;
  /** The most that the request may hold if it passes them. */
  maxPassingHold: Nanodollars;
  /** Notes that it has passed them. */
  recordPassed(id: string, hold: Nanodollars): void;
}

/** A request in the line. */
export interface QueuedRequest {
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
  decideAgain(
    isLast: boolean,
    ahead: () => QueuedRequestsAhead | undefined,
  ): AdmissionDecision | StillWaitingDecision | Promise<AdmissionDecision>;
  /** @returns all limits in money that hold for it, as they are now */
  budgetWindows(): BudgetWindow[];
  /** Asks the pools that pay for it. It never throws: the next tick asks again, and the last decision says what failed. */
  extendPoolLeases(): Promise<unknown>;
}

interface AdmissionQueueEntry extends QueuedRequest {
  answer: PromiseWithResolvers<AdmissionDecision>;
  /** What was left for it when it began to wait. */
  initiallyLeft: Nanodollars;
  /** What those hold who have passed it, and what they have cost since. */
  passingHolds: Map<string, Nanodollars>;
  passedCost: Nanodollars;
}

export class AdmissionQueue {
  readonly #now: () => number;
  #entries: AdmissionQueueEntry[] = [];
  /** The answers of requests that have left, oldest first. A call of theirs that arrives late must not place a hold. */
  readonly #answersToLeft = new Map<string, Promise<AdmissionDecision>>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param now the clock, in milliseconds since 1970 */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** @returns those who wait for one of these payers; undefined if nobody does. @param minHold what who comes needs at the least */
  findRequestsAhead(
    payers: readonly string[],
    minHold: Nanodollars,
    places: readonly AdmissionQueueEntry[] = this.#entries,
    mosts = new Map<AdmissionQueueEntry, Nanodollars>(),
  ): QueuedRequestsAhead | undefined {
    const passed: AdmissionQueueEntry[] = [];
    let mostPassing = CEILING;
    for (const place of places) {
      if (!payers.includes(place.by)) continue;
      passed.push(place);
      mostPassing = Math.min(
        mostPassing,
        getOrCreate(mosts, place, () => computeMaxPassingHold(place)),
      );
      // Those behind it cannot make it more.
      if (mostPassing < minHold) break;
    }
    const [first] = passed;
    if (!first) return undefined;
    const { refusal } = first.refused;
    const recordPassingHold = (id: string, hold: Nanodollars) => {
      for (const { passingHolds: passers } of passed) passers.set(id, hold);
    };
    return { refusal, maxPassingHold: mostPassing, recordPassed: recordPassingHold };
  }

  recordPassedCost(id: string, cost: Nanodollars): void {
    for (const place of this.#entries) if (place.passingHolds.delete(id)) place.passedCost += cost;
  }

  /** @returns whether nobody else may join. */
  get isFull(): boolean {
    return this.#entries.length >= MAX_WAITING;
  }

  /** @returns the answer to a request that waits already, or has left; undefined for any other. */
  findQueuedDecision(id: string): Promise<AdmissionDecision> | undefined {
    return this.#entries.find((place) => place.id === id)?.answer.promise ?? this.#answersToLeft.get(id);
  }

  /** Lets a request wait. @returns the decision, as soon as it is not held up by others any more */
  waitInQueue(waiting: QueuedRequest): Promise<AdmissionDecision> {
    const answer = Promise.withResolvers<AdmissionDecision>();
    this.#entries.push({
      ...waiting,
      answer,
      initiallyLeft: computeMinAmountLeft(waiting.budgetWindows()),
      passingHolds: new Map(),
      passedCost: 0,
    });
    this.#timer ??= setTimeout(this.#tick, TICK_MS);
    return answer.promise;
  }

  /** Takes a request out of the line. @returns whether it was there */
  removeFromQueue(id: string): boolean {
    const place = this.#entries.find((one) => one.id === id);
    if (!place) return false;
    this.#removeQueueEntry(place);
    place.answer.resolve(place.refused);
    this.#answersToLeft.set(id, place.answer.promise);
    const [oldest] = this.#answersToLeft.keys();
    if (oldest !== undefined && this.#answersToLeft.size > MAX_WAITING) this.#answersToLeft.delete(oldest);
    return true;
  }

  /** Admits those for whom enough is left now, in their order. Waits for nothing. */
  admitReadyRequests(): void {
    if (this.#entries.length === 0) return;
    const now = this.#now();
    const held: AdmissionQueueEntry[] = [];
    const mosts = new Map<AdmissionQueueEntry, Nanodollars>();
    for (const place of [...this.#entries]) {
      const isLast = now >= place.until;
      // Who asks a pool at the last is decided on later, when others have come into both.
      const [before, amounts] = isLast ? [[...held]] : [held, mosts];
      const findRequestsBefore = () => this.findRequestsAhead(place.payers, place.least, before, amounts);
      try {
        if (!isLast && place.least > (findRequestsBefore()?.maxPassingHold ?? place.least)) {
          held.push(place);
          continue;
        }
        const decision = place.decideAgain(isLast, findRequestsBefore);
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
      this.#removeQueueEntry(place);
    }
  }

  readonly #tick = () => {
    this.admitReadyRequests();
    this.#timer = this.#entries.length > 0 ? setTimeout(this.#tick, TICK_MS) : undefined;
    // A pool that does not answer holds up only those who wait for it, and they leave when their time is over.
    void Promise.all(this.#entries.map((place) => place.extendPoolLeases())).then(() => this.admitReadyRequests());
  };

  #removeQueueEntry(place: AdmissionQueueEntry): void {
    // Nobody stands behind it any more.
    place.by = '';
    this.#entries = this.#entries.filter((one) => one !== place);
  }
}

/** @returns the most that a request may hold that passes another one: that one must still get what it waits for */
function computeMaxPassingHold({
  budgetWindows: purses,
  initiallyLeft: leftAtFirst,
  passingHolds: passers,
  passedCost: passed,
  needed,
}: AdmissionQueueEntry): Nanodollars {
  const all = purses();
  let held = 0;
  for (const hold of passers.values()) held += hold;
  const unspent = Math.min(...all.map(({ limit: most, settled }) => most - settled));
  return Math.min(
    Math.floor(computeMinAmountLeft(all) / PASSING_DIVISOR),
    Math.floor(leftAtFirst / PASSING_DIVISOR) - passed - held,
    unspent - held - needed,
  );
}
