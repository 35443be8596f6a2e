/**
 * Limits how many calls run at the same time, and starts them in the order in which they came.
 *
 * The account may allow fewer. A call that it refuses for that reason waits until another call of this limiter ends, and
 * is then tried again; if no other call runs, its refusal is the result.
 */
export class ConcurrencyLimiter {
  readonly #most: number;
  /** How many names of calls were given. */
  names = 0;
  #running = 0;
  #ended = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(most: number) {
    this.#most = most;
  }

  /**
   * Runs a call as soon as there is room.
   *
   * @param isCrowded tells whether a result is a refusal because too many calls run already
   */
  async run<T>(call: () => Promise<T>, isCrowded: (result: T) => boolean): Promise<T> {
    if (this.#running < this.#most) this.#running += 1;
    else await this.#place();
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
      // Its place stays empty, because more calls run already than the account allows.
      this.#running -= 1;
      await this.#place();
    }
  }

  /** Waits for the place of a call that ends. */
  #place(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #leave(): void {
    this.#ended += 1;
    const next = this.#waiting.shift();
    if (next) next();
    else this.#running -= 1;
  }
}
