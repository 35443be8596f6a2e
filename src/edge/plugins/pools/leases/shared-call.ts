/** Makes one call at a time. All requests that come during a call share the next one. */
export class CoalescedCall {
  readonly #call: () => Promise<void>;
  #current: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(call: () => Promise<void>) {
    this.#call = call;
  }

  get isRunning(): boolean {
    return this.#current !== undefined;
  }

  /** Makes a call that begins now or later, but never shares one that has begun already. @throws the error of the call */
  async requestCall(): Promise<void> {
    const beginNextCall = () => this.#startCall();
    if (!this.#current) return await beginNextCall();
    this.#next ??= this.#current.then(beginNextCall, beginNextCall);
    await this.#next;
  }

  async #startCall(): Promise<void> {
    this.#next = undefined;
    this.#current = this.#call().finally(() => {
      this.#current = undefined;
    });
    await this.#current;
  }
}
