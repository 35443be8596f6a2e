/**
 * What must hold of an account's line: nobody is forgotten, who has left is granted nothing, and who waits is overtaken only by
 * little, and never so that it does not fit any more.
 */
import type { AdmissionDecision } from '#edge/money/contracts/admission.ts';
import { Violation } from './host.ts';
import type { World } from './world.ts';

/** All that have passed one that waits hold or have cost at most this part of what was free when it began to wait. */
const PASSING = 16;

/** A request, and the account that it asks. */
interface Asking {
  id: string;
  waits: boolean;
  /** What it needs, in nanodollars. */
  needed: number;
  /** @returns what is not settled of the limit now, or neither settled nor held */
  unspent(part: 'settled' | 'held'): number;
}

interface Place extends Asking {
  /** What was free when it began to wait. */
  free: number;
  /** What those hold who have passed it, or have cost. */
  passers: Map<string, number>;
}

export class LineModel {
  readonly #world: World;
  /** Who waits, in the order in which they came. */
  #waiting: Place[] = [];
  readonly #left = new Set<string>();
  /** What those hold that have a hold: a call that comes twice gets the same answer. */
  readonly #holds = new Map<string, number>();

  constructor(world: World) {
    this.#world = world;
  }

  /** An object has woken: it knows of nobody. */
  begin(): void {
    this.#waiting = [];
  }

  /** Notes that a request was settled. If it waits, it waits no more. */
  settled(id: string, cost: number): void {
    if (this.#waiting.some((place) => place.id === id)) this.#left.add(id);
    if (!this.#holds.delete(id)) return;
    for (const { passers } of this.#waiting) if (passers.has(id)) passers.set(id, cost);
  }

  /** Looks at a decision when it is made. */
  decided(asking: Asking, decided: string | Promise<string>): string | Promise<string> {
    const { id, waits, unspent } = asking;
    if (typeof decided === 'string') {
      this.#admitted(asking, decided, waits ? this.#waiting : []);
      return decided;
    }
    if (!this.#waiting.some((place) => place.id === id))
      this.#waiting.push({ ...asking, free: unspent('held'), passers: new Map() });
    return decided.then(
      (answer) => {
        this.#end(asking, answer);
        return answer;
      },
      (thrown: unknown) => {
        // An id that was settled already, whose call has come once more.
        this.#waiting = this.#waiting.filter((place) => place.id !== id);
        throw thrown;
      },
    );
  }

  lookAtRest(): void {
    if (this.#waiting.length > 0) throw new Violation(`${this.#waiting.map(({ id }) => id)} wait for ever`);
  }

  #end(asking: Asking, answer: string): void {
    const { id, needed, unspent } = asking;
    const at = this.#waiting.findIndex((place) => place.id === id);
    if (at < 0) return;
    const ahead = this.#waiting.slice(0, at);
    this.#waiting.splice(at, 1);
    const isAdmitted = this.#admitted(asking, answer, ahead);
    if (this.#left.has(id)) {
      if (isAdmitted) this.#world.fail(`${id} has left, and was admitted`);
    } else if (isHeld(answer) && ahead.length === 0 && needed <= unspent('held')) {
      this.#world.fail(`${id} was refused, and there is room for it`);
    }
  }

  /** @returns whether a request was admitted; it may pass some that wait */
  #admitted({ id, unspent }: Asking, answer: string, ahead: readonly Place[]): boolean {
    const decision = JSON.parse(answer) as AdmissionDecision;
    if (decision.outcome !== 'admitted') return false;
    if (this.#holds.has(id)) return true;
    this.#holds.set(id, decision.hold);
    for (const place of ahead) {
      place.passers.set(id, decision.hold);
      const all = [...place.passers.values()].reduce((sum, amount) => sum + amount, 0);
      if (all * PASSING > place.free)
        this.#world.fail(`${[...place.passers.keys()]} have passed ${place.id} with ${all}`);
      const held = [...place.passers.keys()].reduce((sum, passer) => sum + (this.#holds.get(passer) ?? 0), 0);
      if (unspent('settled') - held < place.needed)
        this.#world.fail(`${place.id} does not fit, as ${id} has passed it`);
    }
    return true;
  }
}

function isHeld(answer: string): boolean {
  const decision = JSON.parse(answer) as AdmissionDecision;
  return decision.outcome === 'refused' && decision.refusal.reason === 'held';
}
