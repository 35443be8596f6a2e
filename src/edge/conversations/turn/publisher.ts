import { computeStoreDelayMs, TOUCH_MS } from './store-schedule.ts';
import type { StreamPieceContents } from './turn-ending.ts';
import type { TurnRecorder } from './turn-recorder.ts';

/** So many characters are stored at once. */
const STORE_CHARACTERS = 65_536;

/**
 * Stores and shows the events of a turn. The events up to the first delta, and those that have effects, are stored before they
 * are shown. Others are shown first, and stored together later.
 */
export class TurnEventPublisher {
  readonly #turn: TurnRecorder;
  readonly #now: () => number;
  readonly #onFailure: (thrown: unknown) => void;
  /** Whether a delta has come. */
  hasDelta = false;
  /** When something was shown last; milliseconds since 1970. */
  lastShownAt = Date.now();
  /** Whether an event is waiting that must be stored before it is shown. */
  #storesFirst = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #hasEnded = false;
  /** When the newest row was written or touched. */
  #storedAt = 0;
  /** When the first delta was stored. */
  #beganAt: number | undefined;
  /** Milliseconds from one storing to the next. */
  #storeAfterMs = computeStoreDelayMs(0);

  /** @param onFailure called with the error of a write by the timer. It is repeated */
  constructor(turn: TurnRecorder, now: () => number, onFailure: (thrown: unknown) => void) {
    this.#turn = turn;
    this.#now = now;
    this.#onFailure = onFailure;
  }

  /** Publishes the events of a piece that the turn has taken. */
  publishEvents({ hasFraming, hasEffect, hasDelta }: StreamPieceContents): void {
    this.#storesFirst ||= hasEffect || (!this.hasDelta && (hasFraming || hasDelta));
    this.hasDelta ||= hasDelta;
    const { log } = this.#turn;
    if (log.unshownCount === 0) return;
    if (this.#storesFirst || log.unstoredCharacters >= STORE_CHARACTERS) {
      this.#storeEvents();
      return;
    }
    this.#timer ??= setTimeout(() => this.#scheduleStore(), this.#storeAfterMs);
    this.lastShownAt = Date.now();
    if (!this.#hasEnded) log.show();
  }

  /** Sends a `ping` during a silence, which shows that the turn still runs. */
  ping(): void {
    this.#turn.log.ping();
    this.lastShownAt = Date.now();
  }

  /**
   * Stores in the log that the turn still runs, if a server tool runs and no event has arrived for a while: after a crash, only
   * the time after the newest row is charged.
   *
   * @returns after how many milliseconds this may be due again
   */
  touch(): number {
    if (!this.#hasServerTools || this.#hasEnded) return Number.POSITIVE_INFINITY;
    const now = this.#now();
    const leftMs = this.#turn.isServerToolRunning ? this.#storedAt + TOUCH_MS - now : TOUCH_MS;
    if (leftMs > 0) return leftMs;
    this.#turn.log.touch({ at: now, unseenMs: this.#turn.measureUnseenMs(now) });
    this.#storedAt = now;
    return TOUCH_MS;
  }

  /** Whether the request has server tools. `turn.isServerToolRunning` is whether one runs now. */
  get #hasServerTools(): boolean {
    return this.#turn.row.grant?.terms?.serverTools !== undefined;
  }

  /** Stops the timer. The end of the turn stores the remaining events. */
  end(): void {
    this.#hasEnded = true;
    this.#clearStoreTimer();
  }

  /** Schedules storing the shown events. If they cannot be stored then, they are stored with later events or at the end. */
  #scheduleStore(): void {
    try {
      this.#storeEvents();
    } catch (thrown) {
      this.#onFailure(thrown);
      this.#timer ??= setTimeout(() => this.#scheduleStore(), this.#storeAfterMs);
    }
  }

  #storeEvents(): void {
    this.#clearStoreTimer();
    this.lastShownAt = Date.now();
    if (this.#hasEnded) return;
    const now = this.#now();
    if (this.hasDelta) this.#beganAt ??= now;
    this.#storeAfterMs = computeStoreDelayMs(now - (this.#beganAt ?? now), this.#hasServerTools);
    const hasEvents = this.#turn.log.unstoredCharacters > 0;
    this.#turn.grants.storeSentGrant();
    this.#turn.log.store({ at: now, unseenMs: this.#turn.measureUnseenMs(now) });
    this.#storesFirst = false;
    if (hasEvents) this.#storedAt = now;
  }

  #clearStoreTimer(): void {
    // Skip the call if no timer is set, because `clearTimeout` costs time even then.
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
