/** Stores what the simulator needs later: batches and files. */
export interface SimulatorStore {
  /** @returns the value of a key; undefined if there is none. */
  get(key: string): Promise<Uint8Array | undefined>;
  /**
   * Writes a value, of 8 MB at most.
   *
   * @param seconds after which it may be forgotten
   */
  put(key: string, value: Uint8Array, seconds: number): Promise<void>;
  delete(key: string): Promise<void>;
  /** @returns all keys that begin with a prefix, in the order of their characters. */
  listKeys(prefix: string): Promise<string[]>;
}

/** Keeps everything in this process, until it ends. */
export class MemoryStore implements SimulatorStore {
  readonly #values = new Map<string, Uint8Array>();

  async get(key: string): Promise<Uint8Array | undefined> {
    // Return a copy, because streaming a value transfers its buffer.
    return this.#values.get(key)?.slice();
  }

  async put(key: string, value: Uint8Array): Promise<void> {
    this.#values.set(key, value);
  }

  async delete(key: string): Promise<void> {
    this.#values.delete(key);
  }

  async listKeys(prefix: string): Promise<string[]> {
    return [...this.#values.keys()].filter((key) => key.startsWith(prefix)).toSorted();
  }
}
