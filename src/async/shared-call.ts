/** Makes a call one at a time: all who ask while one is under way share the next. */
export class SharedCall {
  readonly #call: () => Promise<void>;
  #current: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(call: () => Promise<void>) {
    this.#call = call;
  }

  /** @returns whether a call is under way. */
  get isRunning(): boolean {
    return this.#current !== undefined;
  }

  /** Makes a call that begins now or later, never one that has begun. @throws what the call throws */
  async make(): Promise<void> {
    const begin = () => this.#begin();
    if (!this.#current) return await begin();
    this.#next ??= this.#current.then(begin, begin);
    await this.#next;
  }

  async #begin(): Promise<void> {
    this.#next = undefined;
    this.#current = this.#call().finally(() => {
      this.#current = undefined;
    });
    await this.#current;
  }
}
