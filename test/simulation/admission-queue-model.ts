/**
 * What must hold of an account's line: nobody is forgotten, who has left is granted nothing, and who waits is overtaken only by
 * little, and never so that it does not fit any more.
 */
import type { AdmissionDecision } from '#edge/money/contracts/admission.ts';
import { InvariantViolation } from './host.ts';
import type { World } from './world.ts';

/** All that have passed one that waits hold or have cost at most this part of what was free when it began to wait. */
const OVERTAKING_DIVISOR = 16;

/** A request, and the account that it asks. */
interface QueuedRequest {
  id: string;
  canWait: boolean;
  /** What it needs, in nanodollars. */
  needed: number;
  /** @returns what is not settled of the limit now, or neither settled nor held */
  unspentOf(part: 'settled' | 'held'): number;
}

interface QueuePosition extends QueuedRequest {
  /** What was free when it began to wait. */
  freeAtStart: number;
  /** What those hold who have passed it, or have cost. */
  overtakingHolds: Map<string, number>;
}

export class AdmissionQueueModel {
  readonly #world: World;
  /** Who waits, in the order in which they came. */
  #waiting: QueuePosition[] = [];
  readonly #leftIds = new Set<string>();
  /** What those hold that have a hold: a call that comes twice gets the same answer. */
  readonly #holds = new Map<string, number>();

  constructor(world: World) {
    this.#world = world;
  }

  /** An object has woken: it knows of nobody. A settlement by which somebody left may have been undone with the one before. */
  reset(): void {
    this.#waiting = [];
    this.#leftIds.clear();
  }

  /** Notes that a request was settled. If it waits, it waits no more. */
  noteSettled(id: string, cost: number): void {
    if (this.#waiting.some((place) => place.id === id)) this.#leftIds.add(id);
    if (!this.#holds.delete(id)) return;
    for (const { overtakingHolds: passers } of this.#waiting) if (passers.has(id)) passers.set(id, cost);
  }

  /** Looks at a decision when it is made. */
  checkDecision(asking: QueuedRequest, decided: string | Promise<string>): string | Promise<string> {
    const { id, canWait: waits, unspentOf: unspent } = asking;
    if (typeof decided === 'string') {
      this.#checkAdmitted(asking, decided, waits ? this.#waiting : []);
      return decided;
    }
    if (!this.#waiting.some((place) => place.id === id))
      this.#waiting.push({ ...asking, freeAtStart: unspent('held'), overtakingHolds: new Map() });
    return decided.then(
      (answer) => {
        this.#endWaiting(asking, answer);
        return answer;
      },
      (thrown: unknown) => {
        // An id that was settled already, whose call has come once more.
        this.#waiting = this.#waiting.filter((place) => place.id !== id);
        throw thrown;
      },
    );
  }

  checkAtRest(): void {
    if (this.#waiting.length > 0) throw new InvariantViolation(`${this.#waiting.map(({ id }) => id)} wait for ever`);
  }

  #endWaiting(asking: QueuedRequest, answer: string): void {
    const { id, needed, unspentOf: unspent } = asking;
    const at = this.#waiting.findIndex((place) => place.id === id);
    if (at < 0) return;
    const ahead = this.#waiting.slice(0, at);
    this.#waiting.splice(at, 1);
    const isAdmitted = this.#checkAdmitted(asking, answer, ahead);
    if (this.#leftIds.has(id)) {
      if (isAdmitted) this.#world.fail(`${id} has left, and was admitted`);
    } else if (isRefusedForHolds(answer) && ahead.length === 0 && needed <= unspent('held')) {
      this.#world.fail(`${id} was refused, and there is room for it`);
    }
  }

  /** @returns whether a request was admitted; it may pass some that wait */
  #checkAdmitted({ id, unspentOf: unspent }: QueuedRequest, answer: string, ahead: readonly QueuePosition[]): boolean {
    const decision = JSON.parse(answer) as AdmissionDecision;
    if (decision.outcome !== 'admitted') return false;
    if (this.#holds.has(id)) return true;
    this.#holds.set(id, decision.hold);
    for (const place of ahead) {
      place.overtakingHolds.set(id, decision.hold);
      const all = [...place.overtakingHolds.values()].reduce((sum, amount) => sum + amount, 0);
      if (all * OVERTAKING_DIVISOR > place.freeAtStart)
        this.#world.fail(`${[...place.overtakingHolds.keys()]} have passed ${place.id} with ${all}`);
      const held = [...place.overtakingHolds.keys()].reduce((sum, passer) => sum + (this.#holds.get(passer) ?? 0), 0);
      if (unspent('settled') - held < place.needed)
        this.#world.fail(`${place.id} does not fit, as ${id} has passed it`);
    }
    return true;
  }
}

function isRefusedForHolds(answer: string): boolean {
  const decision = JSON.parse(answer) as AdmissionDecision;
  return decision.outcome === 'refused' && decision.refusal.reason === 'held';
}
