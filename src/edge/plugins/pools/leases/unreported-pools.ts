import type { DurableObjectServices } from '../../../durable/edge-object.ts';

/** Milliseconds after a change until the alarm reports it, and between two reports by the alarm. */
const FIRST_REPORT_MS = 2_000;
const NEXT_REPORT_MS = 60_000;

/**
 * Lists the pools that may not know all spending, and to which no lease reports. The alarm reports to them, at most once a
 * minute. If the object dies before, the alarm still comes, so nothing is stored here.
 */
export class UnreportedPools {
  readonly #around: Pick<DurableObjectServices, 'alarm' | 'now' | 'retries'>;
  readonly #afterWake: () => Iterable<string>;
  /** How often each pool was noted. */
  readonly #times = new Map<string, number>();
  #isWoken = true;
  #reportedAt = Number.NEGATIVE_INFINITY;

  /** @param afterWake returns the pools that may not know all spending before the object woke */
  constructor(around: Pick<DurableObjectServices, 'alarm' | 'now' | 'retries'>, afterWake: () => Iterable<string>) {
    this.#around = around;
    this.#afterWake = afterWake;
  }

  /** Has the alarm report to a pool. */
  addPoolToReport(name: string): void {
    this.#times.set(name, (this.#times.get(name) ?? 0) + 1);
    this.#scheduleAlarm();
  }

  clear(): void {
    this.#times.clear();
    this.#isWoken = false;
  }

  /** Reports to each pool whose report is due. @param tell returns whether the pool knows everything afterwards */
  async report(tell: (name: string) => Promise<boolean>): Promise<void> {
    const now = this.#around.now();
    if (this.#isWoken) for (const name of this.#afterWake()) this.#times.set(name, this.#times.get(name) ?? 1);
    this.#isWoken = false;
    if (this.#times.size === 0) return;
    if (now >= this.#reportedAt + NEXT_REPORT_MS || now < this.#reportedAt) {
      this.#reportedAt = now;
      for (const [name, times] of [...this.#times]) {
        const isTold = await tell(name).catch((thrown: unknown) => {
          this.#around.retries.recordFailure('pool_report', thrown, now + NEXT_REPORT_MS, { subject: name });
          return undefined;
        });
        if (isTold !== undefined) this.#around.retries.recordSuccess('pool_report', name);
        // Keep the pool in the list if a change was recorded during the report. The change is then reported a minute later.
        if (isTold && this.#times.get(name) === times) this.#times.delete(name);
      }
    }
    if (this.#times.size > 0) this.#scheduleAlarm();
  }

  #scheduleAlarm(): void {
    const { alarm, now } = this.#around;
    alarm.scheduleAt(Math.max(now() + FIRST_REPORT_MS, this.#reportedAt + NEXT_REPORT_MS), 1);
  }
}
