import type { ClassifiedFailure } from './classify-failure.ts';
import { UpstreamFailure } from './failure.ts';
import type { ConfiguredUpstream } from './providers/entry.ts';
import type { BreakerPermit, CircuitBreaker } from './upstreams/breaker.ts';
import type { UpstreamChoice } from './upstreams/order.ts';
import type { UpstreamPool, UpstreamRoutingInput } from './upstreams/pool.ts';

/**
 * If an upstream requests a shorter wait than these milliseconds, waiting is better than another upstream without the prompt
 * cache.
 */
export const SHORT_WAIT_MS = 2_000;

/**
 * Permits one attempt at an upstream of UPSTREAMS, and records how the attempt ends: for the breaker, the running requests and
 * the key.
 */
export class UpstreamPermit {
  readonly pool: UpstreamPool;
  readonly upstream: ConfiguredUpstream;
  readonly #breaker: CircuitBreaker;
  readonly #permit: BreakerPermit;
  /** Stops counting the request as running. Further calls have no effect. */
  readonly #end: () => void;

  private constructor(pool: UpstreamPool, { upstream, breaker }: UpstreamChoice, permit: BreakerPermit) {
    this.pool = pool;
    this.upstream = upstream;
    this.#breaker = breaker;
    this.#permit = permit;
    this.#end = pool.health.begin(upstream.name, Date.now());
  }

  /** @returns undefined if another request became the breaker's probe after the choice was made */
  static acquire(pool: UpstreamPool, choice: UpstreamChoice): UpstreamPermit | undefined {
    const { breaker, state } = choice;
    const permit = breaker.acquirePermit(Date.now()) ?? (state === 'open' ? breaker.forcePermit() : undefined);
    return permit && new UpstreamPermit(pool, choice, permit);
  }

  /** Whether the attempt finds out if the upstream works again. */
  get isProbe(): boolean {
    return this.#permit.isProbe;
  }

  recordAnswer(): void {
    this.#breaker.recordSuccess(this.#permit, Date.now());
  }

  /** Records that the first bytes are late. The attempt may continue. */
  recordLateness(): void {
    this.#breaker.recordFailure(this.#permit, Date.now());
  }

  /** Records that the whole request was aborted. Only a timeout counts against the upstream, not that the caller left. */
  recordAbort(reason: unknown): void {
    this.#end();
    if (reason instanceof UpstreamFailure && reason.end !== 'client_gone') this.recordLateness();
    else this.#breaker.releasePermitWithoutResult(this.#permit);
  }

  /** Records that the response has ended. @param isCut whether it broke off, so that the upstream failed after all */
  recordEnd(isCut: boolean): void {
    this.#end();
    if (!isCut) return;
    this.recordLateness();
    this.#breaker.recordPossibleRunFailure(Date.now());
  }

  /**
   * Records that the attempt failed.
   *
   * @param isUncounted whether the breaker must not count it: it has counted it before, or the same upstream is tried again
   * @param mayHaveRun whether the attempt may be billed
   */
  recordFailure(
    failure: ClassifiedFailure,
    { model = '', account }: UpstreamRoutingInput,
    { isUncounted, mayHaveRun }: { isUncounted: boolean; mayHaveRun: boolean },
  ): void {
    const { kind, waitMs } = failure;
    const { health, models } = this.pool;
    const breaker = this.#breaker;
    const permit = this.#permit;
    const now = Date.now();
    this.#end();
    health.getKeyHealth(this.upstream.name).recordAnswerOrRejection(failure, now);
    if (mayHaveRun) breaker.recordPossibleRunFailure(now);
    // A 404 for a model that the table of models does not contain is probably the caller's mistake, so it must not open the
    // breaker.
    const row = models.findRow(model);
    const isInvented = kind === 'missing' && !(row && [row.id, ...row.aliases].includes(model));
    if (kind === 'again') breaker.recordSuccess(permit, now);
    else if (isUncounted || kind === 'request' || isInvented) breaker.releasePermitWithoutResult(permit);
    else if (kind === 'unclear') breaker.recordPossibleCallerFault(permit, now, account, waitMs);
    else breaker.recordFailure(permit, now, waitMs !== undefined && waitMs > SHORT_WAIT_MS ? waitMs : undefined);
  }
}
