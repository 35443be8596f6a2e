/**
 * Lets only so many calls run at the same time, in the order in which they came.
 *
 * The account may let fewer run than the gate: a call that it refuses for that reason waits for another of this gate to
 * end, and is tried again, as long as there is one.
 */
export class ConcurrencyLimiter {
  readonly #most: number;
  #running = 0;
  #ended = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(most: number) {
    this.#most = most;
  }

  /** @param isCrowded whether a result says that too much runs already */
  async run<T>(call: () => Promise<T>, isCrowded: (result: T) => boolean): Promise<T> {
    if (this.#running < this.#most) this.#running += 1;
    else await this.#turn();
    for (;;) {
      const before = this.#ended;
      try {
        const result = await call();
        const hasRoom = this.#ended > before;
        if (!isCrowded(result) || (this.#running === 1 && !hasRoom)) {
          this.#leave();
          return result;
        }
        if (hasRoom) continue;
      } catch (thrown) {
        this.#leave();
        throw thrown;
      }
      // Its place is not given on: what runs is more than the account allows.
      this.#running -= 1;
      await this.#turn();
    }
  }

  /** Waits for the place of a call that ends. */
  #turn(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #leave(): void {
    this.#ended += 1;
    const next = this.#waiting.shift();
    if (next) next();
    else this.#running -= 1;
  }
}
