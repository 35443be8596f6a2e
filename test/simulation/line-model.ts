/** What must hold of an account's line: nobody is overtaken, nobody is forgotten, and who has left is granted nothing. */
import type { AdmissionDecision } from '../../src/durable/contracts/admission.ts';
import { Violation } from './host.ts';
import type { World } from './world.ts';

export class LineModel {
  readonly #world: World;
  /** Who waits, in the order in which they came. */
  #waiting: string[] = [];
  readonly #left = new Set<string>();
  /** Who has a hold: a call that comes twice gets the same answer. */
  readonly #admitted = new Set<string>();

  constructor(world: World) {
    this.#world = world;
  }

  /** An object has woken: it knows of nobody. */
  begin(): void {
    this.#waiting = [];
  }

  /** Notes that a request was settled. If it waits, it waits no more. */
  settled(id: string): void {
    if (this.#waiting.includes(id)) this.#left.add(id);
  }

  /** Looks at a decision when it is made. @param fits says whether there is room for the request now */
  decided(
    id: string,
    waitMs: number,
    decided: string | Promise<string>,
    fits: () => boolean,
  ): string | Promise<string> {
    if (typeof decided === 'string') {
      if (!isAdmitted(decided)) return decided;
      if (waitMs > 0 && !this.#admitted.has(id) && this.#waiting.length > 0)
        this.#world.fail(`${id} has overtaken ${this.#waiting}`);
      this.#admitted.add(id);
      return decided;
    }
    if (!this.#waiting.includes(id)) this.#waiting.push(id);
    return decided.then(
      (answer) => {
        this.#end(id, answer, fits);
        return answer;
      },
      (thrown: unknown) => {
        // An id that was settled already, whose call has come once more.
        this.#waiting = this.#waiting.filter((one) => one !== id);
        throw thrown;
      },
    );
  }

  lookAtRest(): void {
    if (this.#waiting.length > 0) throw new Violation(`${this.#waiting} wait for ever`);
  }

  #end(id: string, answer: string, fits: () => boolean): void {
    if (!this.#waiting.includes(id)) return;
    const [first] = this.#waiting;
    this.#waiting = this.#waiting.filter((one) => one !== id);
    if (isAdmitted(answer)) this.#admitted.add(id);
    if (this.#left.has(id)) {
      if (isAdmitted(answer)) this.#world.fail(`${id} has left, and was admitted`);
    } else if (isAdmitted(answer)) {
      if (first !== id) this.#world.fail(`${id} was admitted before ${first}`);
    } else if (isHeld(answer) && fits()) {
      this.#world.fail(`${id} was refused, and there is room for it`);
    }
  }
}

function isAdmitted(answer: string): boolean {
  return (JSON.parse(answer) as AdmissionDecision).outcome === 'admitted';
}

function isHeld(answer: string): boolean {
  const decision = JSON.parse(answer) as AdmissionDecision;
  return decision.outcome === 'refused' && decision.refusal.reason === 'held';
}
