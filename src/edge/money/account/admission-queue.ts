/**
 * The queue of requests that wait for money which other requests hold: first come, first served. It is only in memory, so it costs
 * no row.
 *
 * A request waits for `needed`: the cost of its preferred response, or of the shortest useful one if even that does not fit (see
 * `money/budget/hold-size.ts`). Meanwhile it may be overtaken, but only with small holds, which leave enough for it. For example,
 * a request waits for $0.07, because only $0.04 of the unspent $0.70 is free. Another request may overtake it with at most
 * $0.0025, a sixteenth of the free money. All that overtake it may together hold and cost at most a sixteenth of what was free
 * when it began to wait, and must leave $0.07 of the unspent money.
 */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import { type BudgetWindow, computeMinAmountLeft } from '../budget/budget-windows.ts';
import { computeUnspentAmount } from '../budget/hold-size.ts';
import { CEILING } from '../budget/rules.ts';
import type { AdmissionDecision, LimitRejection } from '../contracts/admission.ts';

/** The maximum number of requests that wait in one account, and that are known to have left. The next one is rejected at once. */
const MAX_WAITING = 200;
/** How often the waiting requests are decided again, even if nothing was settled here: pools, limits and windows change, too. */
const TICK_MS = 1_000;
/** A request that overtakes another one holds at most this part (a sixteenth) of the free money; so do all that overtake it, together. */
const OVERTAKING_DIVISOR = 16;

/** The payer for whose money a request still waits, as one of its `payers`, and the amount. */
interface StillWaitingDecision {
  outcome: 'held';
  by: string;
  needed: Nanodollars;
}

/** The requests that wait for one of a request's payers, and came before it. */
export interface QueuedRequestsAhead {
  /** Why the first of them waits. */
  refusal: LimitRejection;
  /** The maximum that the request may hold if it overtakes them. */
  maxOvertakingHold: Nanodollars;
  /** Records that it has overtaken them. */
  recordOvertaking(id: string, hold: Nanodollars): void;
}

/** A request in the queue. */
export interface QueuedRequest {
  id: string;
  /** The keys of the payers of the request. */
  payers: readonly string[];
  /** Whose money it waits for now: one of its payers. */
  by: string;
  /** The cost of its shortest useful response: the minimum that it can hold. */
  minHold: Nanodollars;
  /** The amount for which it waits. */
  needed: Nanodollars;
  /** When it has waited long enough; milliseconds since 1970. */
  until: number;
  /** The decision if it leaves the queue. */
  rejected: Extract<AdmissionDecision, { outcome: 'refused' }>;
  /** Decides again. @param isLast whether it has waited long enough. Then the decision is never to wait */
  decideAgain(
    isLast: boolean,
    ahead: () => QueuedRequestsAhead | undefined,
  ): AdmissionDecision | StillWaitingDecision | Promise<AdmissionDecision>;
  /** @returns all limits in money that apply to it, as they are now */
  budgetWindows(): BudgetWindow[];
  /**
   * Extends the leases from the pools that pay for the request. It never rejects: the next tick tries again, and the last
   * decision reports the failure.
   */
  extendPoolLeases(): Promise<unknown>;
}

interface AdmissionQueueEntry extends QueuedRequest {
  decision: PromiseWithResolvers<AdmissionDecision>;
  /** The amount that was free for it when it began to wait. */
  initiallyFree: Nanodollars;
  /** The holds of the requests that have overtaken it, and what those have cost that are settled. */
  overtakingHolds: Map<string, Nanodollars>;
  overtakingCost: Nanodollars;
}

export class AdmissionQueue {
  readonly #now: () => number;
  #entries: AdmissionQueueEntry[] = [];
  /** The decisions about requests that have left, oldest first. A call of theirs that arrives late must not place a hold. */
  readonly #decisionsOfLeft = new Map<string, Promise<AdmissionDecision>>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param now the clock, in milliseconds since 1970 */
  constructor(now: () => number) {
    this.#now = now;
  }

  /**
   * Finds the requests that wait for one of these payers.
   *
   * @param minHold the minimum that the arriving request needs
   * @param entries the part of the queue to search. Default: all of it
   * @param maxOvertakingHolds what was computed for entries already, if many requests are decided at the same time
   * @returns undefined if no request waits for them
   */
  findRequestsAhead(
    payers: readonly string[],
    minHold: Nanodollars,
    entries: readonly AdmissionQueueEntry[] = this.#entries,
    maxOvertakingHolds = new Map<AdmissionQueueEntry, Nanodollars>(),
  ): QueuedRequestsAhead | undefined {
    const overtaken: AdmissionQueueEntry[] = [];
    let maxOvertakingHold = CEILING;
    for (const entry of entries) {
      if (!payers.includes(entry.by)) continue;
      overtaken.push(entry);
      maxOvertakingHold = Math.min(
        maxOvertakingHold,
        getOrCreate(maxOvertakingHolds, entry, () => computeMaxOvertakingHold(entry)),
      );
      // Stop here: each further entry can only lower the maximum, which is already too low for the arriving request.
      if (maxOvertakingHold < minHold) break;
    }
    const [first] = overtaken;
    if (!first) return undefined;
    const { refusal } = first.rejected;
    const recordOvertaking = (id: string, hold: Nanodollars) => {
      for (const { overtakingHolds } of overtaken) overtakingHolds.set(id, hold);
    };
    return { refusal, maxOvertakingHold, recordOvertaking };
  }

  /** Records what a request has cost, if it has overtaken others. */
  recordOvertakingCost(id: string, cost: Nanodollars): void {
    for (const entry of this.#entries) if (entry.overtakingHolds.delete(id)) entry.overtakingCost += cost;
  }

  /** Whether no other request may join. */
  get isFull(): boolean {
    return this.#entries.length >= MAX_WAITING;
  }

  /** @returns the decision about a request that waits already, or has left; undefined for any other. */
  findQueuedDecision(id: string): Promise<AdmissionDecision> | undefined {
    return this.#entries.find((entry) => entry.id === id)?.decision.promise ?? this.#decisionsOfLeft.get(id);
  }

  /** Lets a request wait. @returns the decision, as soon as other requests' holds are not in the way any more */
  waitInQueue(waiting: QueuedRequest): Promise<AdmissionDecision> {
    const decision = Promise.withResolvers<AdmissionDecision>();
    this.#entries.push({
      ...waiting,
      decision,
      initiallyFree: computeMinAmountLeft(waiting.budgetWindows()),
      overtakingHolds: new Map(),
      overtakingCost: 0,
    });
    this.#timer ??= setTimeout(this.#tick, TICK_MS);
    return decision.promise;
  }

  /** Removes a request from the queue. @returns whether it was there */
  removeFromQueue(id: string): boolean {
    const entry = this.#entries.find((one) => one.id === id);
    if (!entry) return false;
    this.#removeQueueEntry(entry);
    entry.decision.resolve(entry.rejected);
    this.#decisionsOfLeft.set(id, entry.decision.promise);
    const [oldest] = this.#decisionsOfLeft.keys();
    if (oldest !== undefined && this.#decisionsOfLeft.size > MAX_WAITING) this.#decisionsOfLeft.delete(oldest);
    return true;
  }

  /** Admits the requests for which enough is free now, in their order. Waits for nothing. */
  admitReadyRequests(): void {
    if (this.#entries.length === 0) return;
    const now = this.#now();
    const stillWaiting: AdmissionQueueEntry[] = [];
    const maxOvertakingHolds = new Map<AdmissionQueueEntry, Nanodollars>();
    for (const entry of [...this.#entries]) {
      const isLast = now >= entry.until;
      // The last decision about an entry may wait for a shared budget (a pool), and be made when other requests have joined the
      // queue. Copy the requests ahead now, so that those do not count as ahead of it.
      const [ahead, computed] = isLast ? [[...stillWaiting]] : [stillWaiting, maxOvertakingHolds];
      const findAhead = () => this.findRequestsAhead(entry.payers, entry.minHold, ahead, computed);
      try {
        if (!isLast && entry.minHold > (findAhead()?.maxOvertakingHold ?? entry.minHold)) {
          stillWaiting.push(entry);
          continue;
        }
        const decision = entry.decideAgain(isLast, findAhead);
        if ('by' in decision) {
          entry.by = decision.by;
          entry.needed = decision.needed;
          stillWaiting.push(entry);
          continue;
        }
        // The hold of the admitted request is no longer free for the requests behind it, so compute their maximum again.
        maxOvertakingHolds.clear();
        entry.decision.resolve(decision);
      } catch (thrown) {
        // An error of one request must not stop the decisions about the other requests in the queue.
        entry.decision.reject(thrown);
      }
      this.#removeQueueEntry(entry);
    }
  }

  readonly #tick = () => {
    this.admitReadyRequests();
    this.#timer = this.#entries.length > 0 ? setTimeout(this.#tick, TICK_MS) : undefined;
    // Do not await the pools here: a pool that does not respond must delay only the requests that wait for it. They leave the
    // queue when their waiting time ends.
    void Promise.all(this.#entries.map((entry) => entry.extendPoolLeases())).then(() => this.admitReadyRequests());
  };

  #removeQueueEntry(entry: AdmissionQueueEntry): void {
    // `by` names the payer whose budget the entry waits for. Clear it, so that a list copied before the removal no longer
    // counts this entry as ahead.
    entry.by = '';
    this.#entries = this.#entries.filter((one) => one !== entry);
  }
}

/** @returns the maximum that a request may hold that overtakes this one, which must still get what it waits for */
function computeMaxOvertakingHold({
  budgetWindows,
  initiallyFree,
  overtakingHolds,
  overtakingCost,
  needed,
}: AdmissionQueueEntry): Nanodollars {
  const windows = budgetWindows();
  let held = 0;
  for (const hold of overtakingHolds.values()) held += hold;
  return Math.min(
    Math.floor(computeMinAmountLeft(windows) / OVERTAKING_DIVISOR),
    Math.floor(initiallyFree / OVERTAKING_DIVISOR) - overtakingCost - held,
    computeUnspentAmount(windows) - held - needed,
  );
}
