/** Makes one call at a time. All requests that come during a call share the next one. */
export class SharedCall {
  readonly #call: () => Promise<void>;
  #current: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(call: () => Promise<void>) {
    this.#call = call;
  }

  get isRunning(): boolean {
    return this.#current !== undefined;
  }

  /** Makes a call that begins now or later, but never joins one that has begun. @throws the error of the call */
  async request(): Promise<void> {
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
