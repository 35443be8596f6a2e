import type { Settings } from '../../config/settings.ts';
import type { ApiError } from '../../kit/http/errors.ts';
import type { Publisher } from './publisher.ts';

/** After so many milliseconds of silence a caller gets a ping. */
export const PING_MS = 15_000;
/** When a ping that has failed is tried again. Milliseconds. */
const PING_AGAIN_MS = 1_000;
const FIRST_TICKS_MS = 50;

interface TimerEvents {
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
  readonly #publisher: Pick<Publisher, 'at' | 'touch'>;
  /** The longest time between two ticks; milliseconds. */
  readonly #stepMs: number;
  readonly #events: TimerEvents;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isQuick = true;
  /** What is expected next: how many milliseconds it may take, since when, and the error if it does not come. */
  #expected: { ms: number; since: number; reason: () => ApiError; endAt: (() => number) | undefined } | undefined;

  constructor(
    publisher: Pick<Publisher, 'at' | 'touch'>,
    { STREAM_IDLE_MS, UPSTREAM_TIMEOUT_MS }: Pick<Settings, 'STREAM_IDLE_MS' | 'UPSTREAM_TIMEOUT_MS'>,
    events: TimerEvents,
  ) {
    this.#publisher = publisher;
    this.#stepMs = Math.min(STREAM_IDLE_MS, UPSTREAM_TIMEOUT_MS);
    this.#events = events;
  }

  start(): void {
    this.#tickIn(Math.min(FIRST_TICKS_MS, this.#stepMs));
  }

  /**
   * Sets how many milliseconds the next expected event may take from now on.
   *
   * @param reason makes the error if it does not come
   * @param endAt returns when the time is up, whatever comes until then; milliseconds since 1970. Default: never
   */
  expect(ms: number, reason: () => ApiError, endAt?: () => number): void {
    this.#expected = { ms, since: Date.now(), reason, endAt };
  }

  /** Restarts the time, because a part of what is expected has come. */
  touch(): void {
    if (this.#expected) this.#expected.since = Date.now();
  }

  clear(): void {
    clearTimeout(this.#timer);
  }

  #tickIn(ms: number): void {
    this.#timer = setTimeout(() => this.#tick(), Math.max(1, ms));
  }

  #tick(): void {
    const now = Date.now();
    const { since = now, ms = Number.POSITIVE_INFINITY, endAt, reason } = this.#expected ?? {};
    const timeoutAt = Math.min(since + ms, endAt?.() ?? Number.POSITIVE_INFINITY);
    if (reason && now >= timeoutAt) {
      this.#events.onTimeout(reason());
      return;
    }
    let touchMs = Number.POSITIVE_INFINITY;
    // This is the turn's only timer: a write that fails must not end it.
    try {
      touchMs = this.#publisher.touch();
      if (now - this.#publisher.at >= PING_MS) this.#events.onSilence();
      if (this.#isQuick) this.#isQuick = !this.#events.onFirstTick();
    } catch (thrown) {
      this.#events.onFailure(thrown);
    }
    const step = this.#isQuick ? Math.min(FIRST_TICKS_MS, this.#stepMs) : this.#stepMs;
    const pingMs = this.#publisher.at + PING_MS - now;
    this.#tickIn(Math.min(timeoutAt - now, pingMs > 0 ? pingMs : PING_AGAIN_MS, touchMs, step));
  }
}
