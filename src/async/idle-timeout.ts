/**
 * Aborts when nothing has happened for too long. One timer serves both the wait for an answer and its silences: it is
 * looked at when it runs out, not set anew with each byte.
 */
export class IdleTimeout {
  readonly #controller: AbortController;
  readonly #tickMs: number;
  #last = Date.now();
  #limitMs: number;
  #reason: () => unknown;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param controller is aborted when time is up
   * @param tickMs the shortest of the limits that will be set
   */
  constructor(controller: AbortController, tickMs: number, limitMs: number, reason: () => unknown) {
    this.#controller = controller;
    this.#tickMs = tickMs;
    this.#limitMs = limitMs;
    this.#reason = reason;
    this.#set(Math.min(tickMs, limitMs));
  }

  /** Something has happened: the time begins anew. */
  touch(now = Date.now()): void {
    this.#last = now;
  }

  /** From now on another limit counts, with another reason. */
  expect(limitMs: number, reason: () => unknown): void {
    this.#last = Date.now();
    this.#limitMs = limitMs;
    this.#reason = reason;
  }

  /** Everything is over. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  #set(milliseconds: number): void {
    this.#timer = setTimeout(() => {
      const left = this.#limitMs - (Date.now() - this.#last);
      if (left <= 0) this.#controller.abort(this.#reason());
      else this.#set(Math.min(left, this.#tickMs));
    }, milliseconds);
  }
}
