/** Keeps requests away from an upstream that is down, and finds out when it is back. */

/** When a breaker opens, and for how long. Times are milliseconds. */
export interface BreakerOptions {
  /** It opens after so many failures without a success between them. */
  failures: number;
  /** It opens where half of the tries of this time failed. */
  windowMs: number;
  /** It does so only where there were at least so many of them. */
  leastTries: number;
  /** How long it stays open the first time. Each probe that fails doubles that, up to the second figure. */
  firstWaitMs: number;
  longestWaitMs: number;
  /** A probe without news for longer than this is forgotten: whoever made it has gone. */
  probeMs: number;
  random(): number;
}

/** The state of a breaker: `half_open` lets one request through, which shows whether the upstream is back. */
export type BreakerState = 'closed' | 'open' | 'half_open';

/** A try's leave to go up. A probe decides whether the breaker closes. */
export interface Leave {
  isProbe: boolean;
  /** The breaker's generation: what a try says that began before it last opened or closed counts no more. */
  generation: number;
}

export const BREAKER_OPTIONS: BreakerOptions = {
  failures: 5,
  windowMs: 30_000,
  leastTries: 10,
  firstWaitMs: 1_000,
  longestWaitMs: 60_000,
  probeMs: 60_000,
  random: Math.random,
};

/** The window is counted in so many parts: the oldest part is forgotten as a whole. */
const WINDOW_PARTS = 10;

interface WindowPart {
  /** The number of the part since 1970. */
  number: number;
  tries: number;
  failed: number;
}

/** The breaker of one upstream and model. It has no clock of its own: each call says when it is made. */
export class Breaker {
  readonly #options: BreakerOptions;
  #parts: WindowPart[] = [];
  #inRow = 0;
  #generation = 0;
  #isOpen = false;
  /** When a probe may be made; milliseconds since 1970. */
  #dueAt = 0;
  /** How often it has opened since it was last closed. */
  #openings = 0;
  #probeSince: number | undefined;

  constructor(options: Partial<BreakerOptions> = {}) {
    this.#options = { ...BREAKER_OPTIONS, ...options };
  }

  /** @returns the state at a time, in milliseconds since 1970. */
  state(now: number): BreakerState {
    if (!this.#isOpen) return 'closed';
    return now >= this.#dueAt ? 'half_open' : 'open';
  }

  /** When a probe may be made; milliseconds since 1970. It says nothing while the breaker is closed. */
  get dueAt(): number {
    return this.#dueAt;
  }

  /** @returns tries and failures of the last time. */
  counts(now: number): { tries: number; failed: number } {
    const oldest = this.#numberAt(now) - WINDOW_PARTS + 1;
    this.#parts = this.#parts.filter(({ number }) => number >= oldest);
    return this.#parts.reduce((sum, { tries, failed }) => ({ tries: sum.tries + tries, failed: sum.failed + failed }), {
      tries: 0,
      failed: 0,
    });
  }

  /** @returns whether `enter` gives leave: also half open it does not while another try is its probe. */
  lets(now: number): boolean {
    if (!this.#isOpen) return true;
    const isProbed = this.#probeSince !== undefined && now - this.#probeSince < this.#options.probeMs;
    return now >= this.#dueAt && !isProbed;
  }

  /** @returns the leave to make a try; undefined while the breaker is open, or another try is its probe. */
  enter(now: number): Leave | undefined {
    if (!this.#isOpen) return { isProbe: false, generation: this.#generation };
    if (!this.lets(now)) return undefined;
    this.#probeSince = now;
    // An earlier probe that was forgotten must not decide in the place of this one.
    this.#generation += 1;
    return { isProbe: true, generation: this.#generation };
  }

  /** @returns the leave of a try that is made although the breaker is open, as there is no other upstream. */
  force(): Leave {
    return { isProbe: false, generation: this.#generation };
  }

  /** Notes that a try was answered. Any answer to a probe closes the breaker. */
  succeed({ isProbe, generation }: Leave, now: number): void {
    if (generation !== this.#generation) return;
    if (this.#isOpen && !isProbe) return;
    if (isProbe) this.#close();
    this.#inRow = 0;
    this.#partAt(now).tries += 1;
  }

  /**
   * Notes that a try failed.
   *
   * @param waitMs what the upstream has asked for: the breaker opens at once, and for no shorter time; no longer than the
   * longest wait
   */
  fail({ isProbe, generation }: Leave, now: number, waitMs?: number): void {
    if (generation !== this.#generation) return;
    if (this.#isOpen && !isProbe) return;
    const part = this.#partAt(now);
    part.tries += 1;
    part.failed += 1;
    this.#inRow += 1;
    if (isProbe || waitMs !== undefined || this.#isFailing(now)) this.#open(now, waitMs ?? 0);
  }

  /** Notes that a try has told nothing, as its caller left: another one may be the probe. */
  leave({ isProbe, generation }: Leave): void {
    if (isProbe && generation === this.#generation) this.#probeSince = undefined;
  }

  #isFailing(now: number): boolean {
    const { failures, leastTries } = this.#options;
    if (this.#inRow >= failures) return true;
    const { tries, failed } = this.counts(now);
    return tries >= leastTries && failed * 2 >= tries;
  }

  #open(now: number, atLeastMs: number): void {
    const { firstWaitMs, longestWaitMs, random } = this.#options;
    // The jitter keeps isolates that have opened together from probing together.
    const backoff = Math.min(firstWaitMs * 2 ** this.#openings, longestWaitMs) * (1 - random() * 0.25);
    this.#isOpen = true;
    this.#openings += 1;
    this.#generation += 1;
    this.#probeSince = undefined;
    this.#dueAt = now + Math.max(backoff, Math.min(atLeastMs, longestWaitMs));
  }

  #close(): void {
    this.#isOpen = false;
    this.#openings = 0;
    this.#generation += 1;
    this.#probeSince = undefined;
    this.#parts = [];
  }

  #numberAt(now: number): number {
    return Math.floor((now * WINDOW_PARTS) / this.#options.windowMs);
  }

  #partAt(now: number): WindowPart {
    const number = this.#numberAt(now);
    const last = this.#parts.at(-1);
    if (last && last.number >= number) return last;
    const part = { number, tries: 0, failed: 0 };
    this.#parts.push(part);
    if (this.#parts.length > WINDOW_PARTS) this.#parts.shift();
    return part;
  }
}
