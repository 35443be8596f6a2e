/** A circuit breaker: keeps requests away from an upstream that is down, and finds out when it works again. */

/** When a breaker opens, and for how long. Times are milliseconds. */
export interface BreakerOptions {
  /** It opens after this many failures in a row. */
  failures: number;
  /** After this many rejections in a row of one account that may be about this account alone. */
  suspicions: number;
  /** It opens if half of the attempts in this time failed. */
  windowMs: number;
  /** The least number of attempts in that time for this rule. */
  minTries: number;
  /** How long it stays open the first time. Each failed probe doubles the time, up to `longestWaitMs`. */
  firstWaitMs: number;
  maxWaitMs: number;
  /** A probe that has reported nothing for longer than this is forgotten: its request is gone. */
  probeMs: number;
  random(): number;
}

/** The state of a breaker. `half_open` lets one request through, which shows whether the upstream works again. */
export type BreakerState = 'closed' | 'open' | 'half_open';

/** A breaker's permission for one attempt. If the attempt is a probe, its result decides whether the breaker closes. */
export interface BreakerPermit {
  isProbe: boolean;
  /** The breaker's generation when the try began. The result of an older try, from before the last change, does not count. */
  generation: number;
}

export const BREAKER_OPTIONS: BreakerOptions = {
  failures: 5,
  suspicions: 10,
  windowMs: 30_000,
  minTries: 10,
  firstWaitMs: 1_000,
  maxWaitMs: 60_000,
  probeMs: 60_000,
  // Looked up at each call, because tests replace `Math.random`.
  random: () => Math.random(),
};

/** The window has this many parts. The oldest part is forgotten as a whole. */
const WINDOW_PARTS = 10;

const NOT_SUSPECTED = { by: undefined, times: 0 };

interface FailureWindowPart {
  /** The number of the part since 1970. */
  number: number;
  tries: number;
  failed: number;
}

/** The breaker of one upstream and model. It has no clock: each call passes the time. */
export class CircuitBreaker {
  readonly #options: BreakerOptions;
  #parts: FailureWindowPart[] = [];
  #failuresInRow = 0;
  /** When an attempt that may have run last failed; milliseconds since 1970. */
  #doubtedAt = Number.NEGATIVE_INFINITY;
  #generation = 0;
  #isOpen = false;
  /** When a probe may be made; milliseconds since 1970. */
  #probeDueAt = 0;
  /** How often it has opened since it was last closed. */
  #openCount = 0;
  #probeSince: number | undefined;
  /** How many requests each other upstream has answered since it opened. */
  readonly #elsewhere = new Map<string, number>();
  /** The account that was rejected since the last response, and how often. */
  #suspicion: { by: string | undefined; times: number } = NOT_SUSPECTED;

  constructor(options: Partial<BreakerOptions> = {}) {
    this.#options = { ...BREAKER_OPTIONS, ...options };
  }

  /** @returns the state at a time, in milliseconds since 1970. */
  getState(now: number): BreakerState {
    if (!this.#isOpen) return 'closed';
    return now >= this.#probeDueAt ? 'half_open' : 'open';
  }

  /** When a probe may be made; milliseconds since 1970. It has no meaning while the breaker is closed. */
  get nextProbeAt(): number {
    return this.#probeDueAt;
  }

  /** Records that another upstream has answered a request which this one would have got if its breaker were closed. */
  recordBypass(upstream: string): void {
    if (this.#isOpen) this.#elsewhere.set(upstream, (this.#elsewhere.get(upstream) ?? 0) + 1);
  }

  /** How many requests other upstreams have answered in its place since it opened. */
  get bypasses(): { upstream: string; requests: number }[] {
    return [...this.#elsewhere].map(([upstream, requests]) => ({ upstream, requests }));
  }

  /** @returns the attempts and failures in the window. */
  countTriesInWindow(now: number): { tries: number; failed: number } {
    const oldest = this.#getWindowPartNumber(now) - WINDOW_PARTS + 1;
    this.#parts = this.#parts.filter(({ number }) => number >= oldest);
    return this.#parts.reduce((sum, { tries, failed }) => ({ tries: sum.tries + tries, failed: sum.failed + failed }), {
      tries: 0,
      failed: 0,
    });
  }

  /** Records that an attempt failed which may have run. */
  recordPossibleRunFailure(now: number): void {
    this.#doubtedAt = now;
  }

  /** @returns whether an attempt that may have run has failed, not longer ago than the window, and none was answered since. */
  isDoubtful(now: number): boolean {
    return this.#failuresInRow > 0 && now - this.#doubtedAt < this.#options.windowMs;
  }

  /** @returns whether `enter` would permit an attempt. A half-open breaker permits none while another attempt is its probe. */
  canAcquirePermit(now: number): boolean {
    if (!this.#isOpen) return true;
    const isProbed = this.#probeSince !== undefined && now - this.#probeSince < this.#options.probeMs;
    return now >= this.#probeDueAt && !isProbed;
  }

  /** @returns the permission for an attempt; undefined while the breaker is open, or another attempt is its probe. */
  acquirePermit(now: number): BreakerPermit | undefined {
    if (!this.#isOpen) return { isProbe: false, generation: this.#generation };
    if (!this.canAcquirePermit(now)) return undefined;
    this.#probeSince = now;
    // A new generation makes the breaker ignore the result of an earlier probe that never reported in time.
    this.#generation += 1;
    return { isProbe: true, generation: this.#generation };
  }

  /** @returns the permission for an attempt although the breaker is open, because there is no other upstream. */
  forcePermit(): BreakerPermit {
    return { isProbe: false, generation: this.#generation };
  }

  /** Records that an attempt was answered. Any answer to a probe closes the breaker. */
  recordSuccess({ isProbe, generation }: BreakerPermit, now: number): void {
    if (generation !== this.#generation) return;
    if (this.#isOpen && !isProbe) return;
    if (isProbe) this.#closeBreaker();
    this.#failuresInRow = 0;
    this.#suspicion = NOT_SUSPECTED;
    this.#getOrCreateWindowPart(now).tries += 1;
  }

  /**
   * Records that an attempt failed.
   *
   * @param waitMs the wait that the upstream has asked for. The breaker opens at once, for at least this time, but not longer
   *   than `longestWaitMs`
   */
  recordFailure({ isProbe, generation }: BreakerPermit, now: number, waitMs?: number): void {
    if (generation !== this.#generation) return;
    if (this.#isOpen && !isProbe) return;
    const part = this.#getOrCreateWindowPart(now);
    part.tries += 1;
    part.failed += 1;
    this.#failuresInRow += 1;
    if (isProbe || waitMs !== undefined || this.#isFailureRateTooHigh(now)) this.#openBreaker(now, waitMs ?? 0);
  }

  /**
   * Records a rejection that may be about one caller alone. It is a failure if another account was rejected, too, or one of
   * them ten times in a row.
   *
   * @param account the account; undefined if it is not known, which counts as the same one
   * @param waitMs as of `fail`
   */
  recordPossibleCallerFault(
    permit: BreakerPermit,
    now: number,
    account: string | undefined,
    waitMs: number | undefined,
  ): void {
    const { by: last = account, times } = this.#suspicion;
    const isOther = account !== undefined && last !== account;
    this.#suspicion = { by: last, times: times + 1 };
    if (permit.isProbe || isOther || times + 1 >= this.#options.suspicions) this.recordFailure(permit, now, waitMs);
    else this.releasePermitWithoutResult(permit);
  }

  /** Records that an attempt has no result, because its caller left. Another attempt may become the probe. */
  releasePermitWithoutResult({ isProbe, generation }: BreakerPermit): void {
    if (isProbe && generation === this.#generation) this.#probeSince = undefined;
  }

  #isFailureRateTooHigh(now: number): boolean {
    const { failures, minTries: leastTries } = this.#options;
    if (this.#failuresInRow >= failures) return true;
    const { tries, failed } = this.countTriesInWindow(now);
    return tries >= leastTries && failed * 2 >= tries;
  }

  #openBreaker(now: number, atLeastMs: number): void {
    const { firstWaitMs, maxWaitMs: longestWaitMs, random } = this.#options;
    // The jitter spreads the probes of isolates whose breakers opened at the same time.
    const backoff = Math.min(firstWaitMs * 2 ** this.#openCount, longestWaitMs) * (1 - random() * 0.25);
    this.#isOpen = true;
    this.#openCount += 1;
    this.#generation += 1;
    this.#probeSince = undefined;
    this.#probeDueAt = now + Math.max(backoff, Math.min(atLeastMs, longestWaitMs));
  }

  #closeBreaker(): void {
    this.#isOpen = false;
    this.#openCount = 0;
    this.#generation += 1;
    this.#probeSince = undefined;
    this.#elsewhere.clear();
    this.#parts = [];
  }

  #getWindowPartNumber(now: number): number {
    return Math.floor((now * WINDOW_PARTS) / this.#options.windowMs);
  }

  #getOrCreateWindowPart(now: number): FailureWindowPart {
    const number = this.#getWindowPartNumber(now);
    const last = this.#parts.at(-1);
    if (last && last.number >= number) return last;
    const part = { number, tries: 0, failed: 0 };
    this.#parts.push(part);
    if (this.#parts.length > WINDOW_PARTS) this.#parts.shift();
    return part;
  }
}
