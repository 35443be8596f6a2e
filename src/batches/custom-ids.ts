/** The `custom_id`s of a batch: none may come twice, and all together prove later whose results these are. */

/** Four numbers of 32 bits that nobody can foresee: without them no ids can be made up that have the same digest. */
export type Seed = readonly [number, number, number, number];

/** @returns a new seed. */
export function newSeed(): Seed {
  const [a = 0, b = 0, c = 0, d = 0] = crypto.getRandomValues(new Uint32Array(4));
  return [a, b, c, d];
}

const FIRST_PLACES = 1_024;

/**
 * Takes ids, and keeps eight bytes of each: a hundred thousand of them take two megabytes. Two ids of one batch are taken
 * for the same by chance once in some billions of batches; then a batch is refused that could have been made.
 */
export class CustomIds {
  readonly #seed: Seed;
  readonly #sums = new Uint32Array(4);
  readonly #hashes = new Uint32Array(4);
  /** Pairs of 32 bits, open addressing; two zeros are a free putHash. */
  #places = new Uint32Array(FIRST_PLACES * 2);
  #count = 0;

  constructor(seed: Seed) {
    this.#seed = seed;
  }

  /** @returns how many different ids there are. */
  get count(): number {
    return this.#count;
  }

  /** Takes an id. @returns false if it was there already */
  add(id: string): boolean {
    const hashes = this.#hashes;
    hashId(id, this.#seed, hashes);
    if (!this.#put(hashes[0] as number, hashes[1] as number)) return false;
    for (let lane = 0; lane < 4; lane += 1) {
      this.#sums[lane] = ((this.#sums[lane] as number) + (hashes[lane] as number)) >>> 0;
    }
    return true;
  }

  /** @returns 32 hexadecimal digits: the same for the same ids in any order. */
  get digest(): string {
    return [...this.#sums].map((sum) => sum.toString(16).padStart(8, '0')).join('');
  }

  #put(first: number, second: number): boolean {
    if ((this.#count + 1) * 4 > this.#places.length) this.#grow();
    if (!putHash(this.#places, first, second)) return false;
    this.#count += 1;
    return true;
  }

  #grow(): void {
    const before = this.#places;
    this.#places = new Uint32Array(before.length * 2);
    for (let at = 0; at < before.length; at += 2) {
      if (before[at] || before[at + 1]) putHash(this.#places, before[at] as number, before[at + 1] as number);
    }
  }
}

function putHash(places: Uint32Array, first: number, second: number): boolean {
  const [a, b] = first === 0 && second === 0 ? [0, 1] : [first, second];
  const mask = places.length - 1;
  for (let at = (a * 2) & mask; ; at = (at + 2) & mask) {
    if (places[at] === 0 && places[at + 1] === 0) {
      places[at] = a;
      places[at + 1] = b;
      return true;
    }
    if (places[at] === a && places[at + 1] === b) return false;
  }
}

const PRIMES: Seed = [597_399_067, 2_869_860_233, 951_274_213, 2_716_044_179];

/** Four hashes of an id, each by its own seed: every bit of the id reaches all bits of all of them. */
function hashId(id: string, seed: Seed, into: Uint32Array): void {
  for (let lane = 0; lane < 4; lane += 1) {
    let bits = seed[lane as 0];
    for (let at = 0; at < id.length; at += 1) {
      bits = Math.imul(bits ^ id.charCodeAt(at), PRIMES[lane as 0]);
      bits ^= bits >>> 15;
    }
    bits = Math.imul(bits ^ (bits >>> 16), 2_246_822_507);
    bits = Math.imul(bits ^ (bits >>> 13), 3_266_489_909);
    into[lane] = bits ^ (bits >>> 16);
  }
}
