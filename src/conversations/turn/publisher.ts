import type { StoredGrant } from '../../accounts/admission/book-outcome.ts';
import type { TakenPiece, Turn } from './turn.ts';

/** Milliseconds after which shown deltas are stored at first, and at the latest. After a crash they are what is lost. */
const [SOONEST_MS, LATEST_MS] = [1_000, 4_000];
/** The same where the API has tools of its own. */
const SERVED_MS = 250;
/** So many characters are stored at once. */
const STORE_CHARACTERS = 65_536;

/**
 * @param writtenMs how long the answer had been written when it was stored last
 * @param grant what its try was granted
 * @returns after how many milliseconds it is stored again: after as many, so that a long answer is stored seldom, and a crash
 *   loses little of a short one. Where the API has tools of its own, time that nobody saw is too dear for that
 */
export function storeAfterMs(writtenMs: number, grant?: Pick<StoredGrant, 'terms'> | null): number {
  if (grant?.terms?.served) return SERVED_MS;
  return Math.min(Math.max(writtenMs, SOONEST_MS), LATEST_MS);
}

/**
 * Stores and shows the events of a turn. The events up to the first delta, and those that have effects, are stored before they
 * are shown. Others are shown first, and stored together later.
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
  /** When the first delta was stored. */
  #beganAt: number | undefined;
  /** Milliseconds from one storing to the next. */
  #storeAfterMs = storeAfterMs(0);

  constructor(turn: Turn, now: () => number) {
    this.#turn = turn;
    this.#now = now;
  }

  /** Publishes the events of a piece that the turn has taken. */
  publish({ hasFraming, hasEffect, hasDelta }: TakenPiece): void {
    this.#storesFirst ||= hasEffect || (!this.hasDelta && (hasFraming || hasDelta));
    this.hasDelta ||= hasDelta;
    const { log } = this.#turn;
    if (log.unshown === 0) return;
    if (this.#storesFirst || log.unstored >= STORE_CHARACTERS) {
      this.#store();
      return;
    }
    this.#timer ??= setTimeout(() => this.#store(), this.#storeAfterMs);
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
    if (this.hasDelta) this.#beganAt ??= now;
    this.#storeAfterMs = storeAfterMs(now - (this.#beganAt ?? now), this.#turn.row.grant);
    this.#turn.grants.store();
    this.#turn.log.store({ at: now, unseenMs: this.#turn.unseenUntil(now) });
  }

  #clearTimer(): void {
    // Clearing a timer that is not set would cost time, too.
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
