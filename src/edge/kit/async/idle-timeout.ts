/**
 * Aborts when nothing has happened for too long: while waiting for an answer, and in silences of it. The timer is not
 * restarted with each byte. When it runs out, it is set again for the rest of the time.
 */
export class IdleTimeout {
  readonly #controller: AbortController;
  readonly #tickMs: number;
  #lastTouchAt = Date.now();
  #limitMs: number;
  #reason: () => unknown;
  #getDeadline: () => number = () => Number.POSITIVE_INFINITY;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param controller aborted when the time is up, with what `reason` returns
   * @param tickMs the shortest limit that will be set, in milliseconds
   * @param limitMs the first limit, in milliseconds
   */
  constructor(controller: AbortController, tickMs: number, limitMs: number, reason: () => unknown) {
    this.#controller = controller;
    this.#tickMs = tickMs;
    this.#limitMs = limitMs;
    this.#reason = reason;
    this.#startTimer(Math.min(tickMs, limitMs));
  }

  /** The limit that is set, in milliseconds. */
  get idleLimitMs(): number {
    return this.#limitMs;
  }

  /** Records that something has happened, which restarts the time. */
  restartIdleTime(now = Date.now()): void {
    this.#lastTouchAt = now;
  }

  /** Stops the clock until the next `touch`, because nobody waits for the upstream. */
  pauseUntilTouched(): void {
    this.#lastTouchAt = Number.POSITIVE_INFINITY;
  }

  /** Sets another limit and reason, and restarts the time. */
  setIdleLimit(limitMs: number, reason: () => unknown): void {
    this.#lastTouchAt = Date.now();
    this.#limitMs = limitMs;
    this.#reason = reason;
  }

  /** Sets when the time is up, whatever happens until then. @param end returns that time; milliseconds since 1970 */
  setDeadline(end: () => number): void {
    this.#getDeadline = end;
  }

  /** Ends the watching. */
  stopWatching(): void {
    clearTimeout(this.#timer);
  }

  #startTimer(milliseconds: number): void {
    this.#timer = setTimeout(() => {
      const now = Date.now();
      const left = Math.min(this.#limitMs - (now - this.#lastTouchAt), this.#getDeadline() - now);
      if (left <= 0) this.#controller.abort(this.#reason());
      else this.#startTimer(Math.min(left, this.#tickMs));
    }, milliseconds);
  }
}
