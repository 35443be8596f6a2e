/**
 * Limits how many calls run at the same time, and starts them in their order.
 *
 * The account may allow fewer. A call that it rejects for that reason waits until another call of this limiter ends, and is
 * then tried again; if no other call runs, its rejection is the result.
 */
export class ConcurrencyLimiter {
  readonly #maxRunning: number;
  /** How many names of calls were given. */
  callCount = 0;
  #runningCount = 0;
  #endedCount = 0;
  readonly #waiters: (() => void)[] = [];

  constructor(maxRunning: number) {
    this.#maxRunning = maxRunning;
  }

  /**
   * Runs a call as soon as fewer calls than the maximum are running.
   *
   * @param isCrowded returns whether a call was rejected because too many are running
   */
  async runWithLimit<T>(call: () => Promise<T>, isCrowded: (result: T) => boolean): Promise<T> {
    if (this.#runningCount < this.#maxRunning) this.#runningCount += 1;
    else await this.#waitForSlot();
    for (;;) {
      const before = this.#endedCount;
      try {
        const result = await call();
        const hasRoom = this.#endedCount > before;
        if (!isCrowded(result) || (this.#runningCount === 1 && !hasRoom)) {
          this.#releaseSlot();
          return result;
        }
        if (hasRoom) continue;
      } catch (thrown) {
        this.#releaseSlot();
        throw thrown;
      }
      // The account rejected the call because too many calls are running. Give up this slot without admitting a waiting call,
      // and retry when another call ends.
      this.#runningCount -= 1;
      await this.#waitForSlot();
    }
  }

  /** Waits for the place of a call that ends. */
  #waitForSlot(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  #releaseSlot(): void {
    this.#endedCount += 1;
    const next = this.#waiters.shift();
    if (next) next();
    else this.#runningCount -= 1;
  }
}
