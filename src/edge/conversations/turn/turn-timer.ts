import type { Settings } from '../../config/settings.ts';
import type { ApiError } from '../../kit/http/errors.ts';
import type { TurnEventPublisher } from './publisher.ts';

/** After so many milliseconds of silence a caller gets a ping. */
export const PING_MS = 15_000;
/** When a ping that has failed is tried again. Milliseconds. */
const PING_RETRY_MS = 1_000;
const FIRST_TICKS_MS = 50;

interface TurnTimerCallbacks {
  onTimeout(reason: ApiError): void;
  /** Called when nothing was shown for 15 seconds. */
  onSilence(): void;
  /** Called every `FIRST_TICKS_MS` at first. @returns true when these quick ticks are no longer needed */
  onFirstTick(): boolean;
  /** Called with the error of a tick that has failed. The next one comes nevertheless. */
  onFailure(thrown: unknown): void;
}

/** The only timer of a turn. It notices silences, and aborts what takes too long. */
export class TurnTimer {
  readonly #publisher: Pick<TurnEventPublisher, 'lastShownAt' | 'touch'>;
  /** The longest time between two ticks; milliseconds. */
  readonly #stepMs: number;
  readonly #events: TurnTimerCallbacks;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isQuick = true;
  /** The expected next event: how many milliseconds it may take, since when, and the error if it does not arrive. */
  #expectation:
    | { ms: number; startedAt: number; reason: () => ApiError; endAt: (() => number) | undefined }
    | undefined;

  constructor(
    publisher: Pick<TurnEventPublisher, 'lastShownAt' | 'touch'>,
    { STREAM_IDLE_MS, UPSTREAM_TIMEOUT_MS }: Pick<Settings, 'STREAM_IDLE_MS' | 'UPSTREAM_TIMEOUT_MS'>,
    events: TurnTimerCallbacks,
  ) {
    this.#publisher = publisher;
    this.#stepMs = Math.min(STREAM_IDLE_MS, UPSTREAM_TIMEOUT_MS);
    this.#events = events;
  }

  startTimer(): void {
    this.#scheduleTick(Math.min(FIRST_TICKS_MS, this.#stepMs));
  }

  /**
   * Sets how many milliseconds the next expected event may take from now on.
   *
   * @param reason makes the error if it does not come
   * @param endAt returns when the time is up, whatever comes until then; milliseconds since 1970. Default: never
   */
  setTimeLimit(ms: number, reason: () => ApiError, endAt?: () => number): void {
    this.#expectation = { ms, startedAt: Date.now(), reason, endAt };
  }

  /** Restarts the time limit, because a part of the response has arrived. */
  restartTimeLimit(): void {
    if (this.#expectation) this.#expectation.startedAt = Date.now();
  }

  clearTimer(): void {
    clearTimeout(this.#timer);
  }

  #scheduleTick(ms: number): void {
    this.#timer = setTimeout(() => this.#handleTick(), Math.max(1, ms));
  }

  #handleTick(): void {
    const now = Date.now();
    const { startedAt: since = now, ms = Number.POSITIVE_INFINITY, endAt, reason } = this.#expectation ?? {};
    const timeoutAt = Math.min(since + ms, endAt?.() ?? Number.POSITIVE_INFINITY);
    if (reason && now >= timeoutAt) {
      this.#events.onTimeout(reason());
      return;
    }
    let touchMs = Number.POSITIVE_INFINITY;
    // Catch errors: this is the turn's only timer, so a failing write must not prevent the next tick.
    try {
      touchMs = this.#publisher.touch();
      if (now - this.#publisher.lastShownAt >= PING_MS) this.#events.onSilence();
      if (this.#isQuick) this.#isQuick = !this.#events.onFirstTick();
    } catch (thrown) {
      this.#events.onFailure(thrown);
    }
    const step = this.#isQuick ? Math.min(FIRST_TICKS_MS, this.#stepMs) : this.#stepMs;
    const pingMs = this.#publisher.lastShownAt + PING_MS - now;
    this.#scheduleTick(Math.min(timeoutAt - now, pingMs > 0 ? pingMs : PING_RETRY_MS, touchMs, step));
  }
}
