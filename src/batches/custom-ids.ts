/** Collects the `custom_id`s of a batch. None may come twice. Together they prove later to which batch results belong. */

/** Four random numbers of 32 bits. Without knowing them, nobody can invent ids with the same digest. */
export type Seed = readonly [number, number, number, number];

/** @returns a new seed. */
export function newSeed(): Seed {
  return [...crypto.getRandomValues(new Uint32Array(4))] as unknown as Seed;
}

const PRIMES = [597_399_067, 2_869_860_233, 951_274_213, 2_716_044_179, 2_246_822_519, 3_266_489_917] as const;
/** The same seed for all batches, so that hashes made with it can be compared. */
const COMMON_SEEDS = [668_265_263, 374_761_393] as const;

/** Keeps all ids. A hundred thousand take six to twelve megabytes. */
export class CustomIds {
  readonly #seeds: readonly number[];
  readonly #sums = new Uint32Array(PRIMES.length);
  readonly #known = new Set<string>();

  constructor(seed: Seed) {
    this.#seeds = [...seed, ...COMMON_SEEDS];
  }

  /** @returns how many different ids there are. */
  get count(): number {
    return this.#known.size;
  }

  /** Takes an id. @returns false if it was there already */
  add(id: string): boolean {
    if (this.#known.has(id)) return false;
    this.#known.add(id);
    for (const [lane, seed] of this.#seeds.entries()) {
      this.#sums[lane] = (this.#sums[lane] as number) + hashOf(id, seed, PRIMES[lane as 0]);
    }
    return true;
  }

  /** @returns 32 hexadecimal digits, the same for the same ids in any order. */
  get digest(): string {
    return this.#hexOf(0, 4);
  }

  /**
   * @returns 16 hexadecimal digits, the same for the same ids in any batch. (Other ids with the same digits can be invented.)
   */
  get likeness(): string {
    return this.#hexOf(4, PRIMES.length);
  }

  #hexOf(from: number, to: number): string {
    return [...this.#sums.subarray(from, to)].map((sum) => sum.toString(16).padStart(8, '0')).join('');
  }
}

/** @returns a hash of 32 bits. Every bit of the id influences all of them. */
function hashOf(id: string, seed: number, prime: number): number {
  let bits = seed;
  for (let at = 0; at < id.length; at += 1) {
    bits = Math.imul(bits ^ id.charCodeAt(at), prime);
    bits ^= bits >>> 15;
  }
  bits = Math.imul(bits ^ (bits >>> 16), 2_246_822_507);
  return bits ^ (bits >>> 13);
}
