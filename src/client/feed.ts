/** What has come so far and what comes: read by anybody, from the beginning, as often as wanted. */
export class Feed<T> {
  readonly #items: T[] = [];
  #end: { error: unknown } | undefined;
  #wake = () => {};
  #changed = Promise.resolve();

  constructor() {
    this.#renew();
  }

  get ended(): boolean {
    return this.#end !== undefined;
  }

  push(item: T): void {
    this.#items.push(item);
    this.#renew();
  }

  /** @param error what its readers are to be thrown */
  end(error?: unknown): void {
    this.#end ??= { error };
    this.#renew();
  }

  /** @throws what it has ended with, once all has been read */
  async *read(): AsyncGenerator<T, void, void> {
    for (let at = 0; ; at += 1) {
      while (at >= this.#items.length) {
        if (this.#end?.error !== undefined) throw this.#end.error;
        if (this.#end) return;
        await this.#changed;
      }
      yield this.#items[at] as T;
    }
  }

  #renew(): void {
    this.#wake();
    this.#changed = new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
