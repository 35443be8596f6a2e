/** Keeps items as they come. Any number of readers can read them, each from the first item on. */
export class Feed<T> {
  readonly #items: T[] = [];
  #end: { error: unknown } | undefined;
  #wake = () => {};
  #changed = Promise.resolve();

  constructor() {
    this.#renew();
  }

  /** Whether no other item will come. */
  get ended(): boolean {
    return this.#end !== undefined;
  }

  /** Adds an item. */
  push(item: T): void {
    this.#items.push(item);
    this.#renew();
  }

  /** Ends the feed. @param error thrown to its readers, after the last item */
  end(error?: unknown): void {
    this.#end ??= { error };
    this.#renew();
  }

  /** Yields all items, and waits for later ones. @throws the error with which the feed has ended, after the last item */
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
