import type { DurableObjectServices } from '../../../durable/edge-object.ts';

/** An account that was not used for longer than this returns the amounts that it does not hold. Milliseconds. */
const IDLE_MS = 2_000;
/** After this many returns, the pools' alarms take over. */
const MOST_RETURNS = 3;

/** Returns amounts once the account is not used any more. */
interface UnheldLeaseReturner {
  /** Returns the amounts that are not held. */
  returnUnheldAmounts(): Promise<void>;
  /** @returns whether a pool counts too much even so, or does not know everything */
  hasUnreportedChanges(): boolean;
}

/**
 * Returns the leases when the account has not been used for a while. If the object dies before, the pools' alarms call the
 * account.
 */
export class IdleTimer {
  readonly #around: Pick<DurableObjectServices, 'waitUntil'>;
  readonly #returns: UnheldLeaseReturner;
  #uses = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(around: Pick<DurableObjectServices, 'waitUntil'>, returns: UnheldLeaseReturner) {
    this.#around = around;
    this.#returns = returns;
  }

  /** @returns whether the account was used a short time ago */
  get isRunning(): boolean {
    return this.#timer !== undefined;
  }

  recordUse(): void {
    this.#uses += 1;
    this.startIdleTimer();
  }

  /** Starts the timer, unless it runs. */
  startIdleTimer(): void {
    if (this.#timer === undefined) this.#waitUntilIdle(this.#uses, 0);
  }

  #waitUntilIdle(uses: number, returns: number): void {
    this.#timer = setTimeout(() => {
      if (this.#uses !== uses) return this.#waitUntilIdle(this.#uses, 0);
      this.#timer = undefined;
      // Check again afterwards: if this call was shared with a request that waits for budget, it gave no amounts back, and it
      // may have failed.
      const again = this.#returns.returnUnheldAmounts().then(() => {
        if (this.#timer !== undefined || returns + 1 >= MOST_RETURNS) return;
        if (this.#returns.hasUnreportedChanges()) this.#waitUntilIdle(this.#uses, returns + 1);
      });
      this.#around.waitUntil(again);
    }, IDLE_MS);
  }
}
