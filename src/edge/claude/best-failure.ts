import type { FailedAttempt } from './attempt.ts';

/** How informative a failure is for the caller. (A rejected key, for example, is informative only for the operator.) */
const INFORMATIVENESS = { request: 0, refused: 0, unclear: 0, missing: 1, down: 2, overloaded: 2, again: 2 } as const;

/**
 * Keeps the failed attempt that is the most informative for the caller. Its failure is returned if no attempt succeeds. The
 * responses of the others are cancelled.
 */
export class BestFailure {
  #best: FailedAttempt | undefined;
  /** A rejection of the request by another upstream than the first. It is returned if all others lack the model. */
  #ofOtherService: FailedAttempt | undefined;
  readonly #isLatest: boolean;

  /** @param isLatest whether the latest failure is the best one, because there is only one upstream */
  constructor(isLatest: boolean) {
    this.#isLatest = isLatest;
  }

  /** The best failure so far, without rejections of the request. */
  get attempt(): FailedAttempt | undefined {
    return this.#best;
  }

  /** @param mayHaveRun whether the attempt may have run. It is settled from its own response, so it is kept whatever its rank */
  add(failed: FailedAttempt, mayHaveRun: boolean): void {
    const { kind, waitMs = 0 } = failed.failure;
    if (kind === 'request') {
      cancelResponse(this.#ofOtherService);
      this.#ofOtherService = failed;
      return;
    }
    const best = this.#best?.failure;
    const tellsLess = best && !mayHaveRun && INFORMATIVENESS[kind] < INFORMATIVENESS[best.kind];
    // If all upstreams are overloaded, return the shortest wait: the caller can retry once any upstream is available.
    const isLater =
      kind === 'overloaded' && best?.kind === kind && best.waitMs !== undefined && !(waitMs < best.waitMs);
    const isKept = this.#isLatest || !(tellsLess || isLater);
    cancelResponse(isKept ? this.#best : failed);
    if (isKept) this.#best = failed;
  }

  /** Ends the choice. @returns the failure for the caller; undefined if no attempt was made */
  take(): FailedAttempt | undefined {
    const [taken, other] =
      this.#ofOtherService && this.#best?.failure.kind === 'missing'
        ? [this.#ofOtherService, this.#best]
        : [this.#best, this.#ofOtherService];
    cancelResponse(other);
    return taken;
  }

  /** Cancels all responses, because another one is returned. */
  discard(): void {
    cancelResponse(this.#best);
    cancelResponse(this.#ofOtherService);
  }
}

/** Cancels a response that is not returned: its body may be unread, and would keep its connection. */
function cancelResponse(failed: FailedAttempt | undefined): void {
  // Cancelling a body that has already failed rejects. Ignore that rejection, because the response is discarded anyway.
  failed?.response?.body?.cancel().catch(() => {});
}
