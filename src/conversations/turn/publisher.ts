import type { TakenPiece, Turn } from './turn.ts';

/** Milliseconds after which shown deltas are stored. After a crash, this limits what nobody saw. */
export const STORE_MS = 250;
const STORE_CHARACTERS = 16_384;

/**
 * Stores and shows the events of a turn. Framing events and the first delta are stored before they are shown. Later deltas
 * are shown first, and stored together a moment later.
 */
export class Publisher {
  readonly #turn: Turn;
  readonly #now: () => number;
  /** Whether a delta has come. */
  hasDelta = false;
  /** When something was shown last; milliseconds since 1970. */
  at = Date.now();
  /** Whether an event is waiting that must be stored before it is shown. */
  #storesFirst = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #hasEnded = false;

  constructor(turn: Turn, now: () => number) {
    this.#turn = turn;
    this.#now = now;
  }

  /** Publishes the events of a piece that the turn has taken. */
  publish({ hasFraming, hasDelta }: TakenPiece): void {
    this.#storesFirst ||= hasFraming || (hasDelta && !this.hasDelta);
    this.hasDelta ||= hasDelta;
    const { log } = this.#turn;
    if (log.unshown === 0) return;
    if (this.#storesFirst || log.unstored >= STORE_CHARACTERS) {
      this.#store();
      return;
    }
    this.#timer ??= setTimeout(() => this.#store(), STORE_MS);
    this.at = Date.now();
    if (!this.#hasEnded) log.show();
  }

  /** Sends a `ping` during a silence, to say that the turn still runs. */
  ping(): void {
    this.#turn.log.ping();
    this.at = Date.now();
  }

  /** Stops the timer. The end of the turn stores the remaining events. */
  end(): void {
    this.#hasEnded = true;
    this.#clearTimer();
  }

  #store(): void {
    this.#clearTimer();
    this.#storesFirst = false;
    this.at = Date.now();
    if (this.#hasEnded) return;
    const now = this.#now();
    this.#turn.grants.store();
    this.#turn.log.store({ at: now, unseenMs: this.#turn.unseenUntil(now) });
  }

  #clearTimer(): void {
    // Clearing a timer that is not set would cost time, too.
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
