/** The `custom_id`s of a batch: none may come twice, and all together prove later whose results these are. */

/** Four numbers of 32 bits that nobody can foresee: without them no ids can be made up that have the same digest. */
export type Seed = readonly [number, number, number, number];

/** @returns a new seed. */
export function newSeed(): Seed {
  return [...crypto.getRandomValues(new Uint32Array(4))] as unknown as Seed;
}

const PRIMES: Seed = [597_399_067, 2_869_860_233, 951_274_213, 2_716_044_179];

/** Takes ids, and keeps them: a hundred thousand take six to twelve megabytes. */
export class CustomIds {
  readonly #seed: Seed;
  readonly #sums = new Uint32Array(4);
  readonly #known = new Set<string>();

  constructor(seed: Seed) {
    this.#seed = seed;
  }

  /** @returns how many different ids there are. */
  get count(): number {
    return this.#known.size;
  }

  /** Takes an id. @returns false if it was there already */
  add(id: string): boolean {
    if (this.#known.has(id)) return false;
    this.#known.add(id);
    for (const [lane, seed] of this.#seed.entries()) {
      this.#sums[lane] = (this.#sums[lane] as number) + hashOf(id, seed, PRIMES[lane as 0]);
    }
    return true;
  }

  /** @returns 32 hexadecimal digits: the same for the same ids in any order. */
  get digest(): string {
    return [...this.#sums].map((sum) => sum.toString(16).padStart(8, '0')).join('');
  }
}

/** @returns 32 bits: every bit of the id reaches all of them. */
function hashOf(id: string, seed: number, prime: number): number {
  let bits = seed;
  for (let at = 0; at < id.length; at += 1) {
    bits = Math.imul(bits ^ id.charCodeAt(at), prime);
    bits ^= bits >>> 15;
  }
  bits = Math.imul(bits ^ (bits >>> 16), 2_246_822_507);
  return bits ^ (bits >>> 13);
}
