export interface LruOptions<V> {
  /** The most that all sizes together may be. Without `sizeOf` it is the number of entries. */
  maxSize: number;
  /** The largest size of one entry; a larger value is not stored. Default: `most`. */
  largest?: number;
  /** Measures a value once, when it is stored. Default: 1. */
  computeCachedHistorySize?(value: V): number;
}

/** Keeps values up to a limit of their sizes. When it is full, it drops the least recently used ones first. */
export class LruCache<K, V> {
  /** A map keeps the order in which its keys were added, so the least recently used key is the first one. */
  readonly #entries = new Map<K, { value: V; size: number }>();
  readonly #options: Required<LruOptions<V>>;
  #size = 0;
  /**
   * The most recently used key, while it has a value. It is not moved, because often moving a key makes the map be rebuilt.
   */
  #newestKey: K | undefined;

  constructor({ maxSize: most, largest = most, computeCachedHistorySize: sizeOf = () => 1 }: LruOptions<V>) {
    this.#options = { maxSize: most, largest, computeCachedHistorySize: sizeOf };
  }

  /** @returns the value of a key, which is now the most recently used one. */
  get(key: K): V | undefined {
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    if (key === this.#newestKey) return entry.value;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    this.#newestKey = key;
    return entry.value;
  }

  /** @returns whether a key has a value; this does not count as a use. */
  has(key: K): boolean {
    return this.#entries.has(key);
  }

  /** Stores a value, replacing an earlier one. A value that is too large is not stored, but the earlier one is removed. */
  set(key: K, value: V): void {
    this.delete(key);
    const { maxSize: most, largest, computeCachedHistorySize: sizeOf } = this.#options;
    const size = sizeOf(value);
    if (size > largest) return;
    this.#entries.set(key, { value, size });
    this.#newestKey = key;
    this.#size += size;
    for (const oldest of this.#entries.keys()) {
      if (this.#size <= most) return;
      this.delete(oldest);
    }
  }

  delete(key: K): void {
    const entry = this.#entries.get(key);
    if (!entry) return;
    this.#entries.delete(key);
    this.#size -= entry.size;
  }
}
