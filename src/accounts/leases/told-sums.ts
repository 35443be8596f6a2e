import type { SumsReport } from '../../durable/contracts/pool.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { reportSums } from '../ledger/report-sums.ts';

/** A busy account reports its sums no more often. */
const REPORT_AGAIN_MS = 20_000;

/** A report that is under way, and what it tells. */
export interface SentSums {
  report: SumsReport;
  /** What was settled when it was made. */
  settled: number;
  /** Whether nothing is left to be told behind it. */
  isLast: boolean;
}

/**
 * Knows which of an account's sums the deployment's pool knows. The pool says up to which change it does with each answer,
 * so nothing of it is stored here: an object that wakes hears it before it tells anything.
 */
export class ToldSums {
  readonly #ledger: Ledger;
  #told: number | undefined;
  /** How often something was settled, and how much of that the pool knows: rows that are not folded have no number. */
  #settled = 1;
  #settledTold = 0;
  #reportedAt = Number.NEGATIVE_INFINITY;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** @returns the change up to which the pool knows the sums; undefined where it has not said so in this life. */
  get told(): number | undefined {
    return this.#told;
  }

  /** @returns whether there is something that the pool may not know. */
  get isBehind(): boolean {
    return this.#told !== this.#ledger.seq || this.#settledTold < this.#settled;
  }

  /** Notes that something was settled. */
  changed(): void {
    this.#settled += 1;
  }

  /** Makes a report, if one is due. @param isIdle whether it need not be saved up */
  compose(now: number, isIdle: boolean): SentSums | undefined {
    const isDue = isIdle || now >= this.#reportedAt + REPORT_AGAIN_MS || now < this.#reportedAt;
    if (this.#told === undefined || !this.isBehind || !isDue) return undefined;
    this.#reportedAt = now;
    // The account's rows were put back to an earlier time where the pool knows more changes than there were.
    const report = reportSums(this.#ledger, this.#told > this.#ledger.seq ? -1 : this.#told);
    return { report, settled: this.#settled, isLast: report.seq === this.#ledger.seq };
  }

  /** Takes what the pool knows now. @param sent the report that it has answered */
  heard(told: number, sent: SentSums | undefined): void {
    this.#told = told;
    if (sent?.isLast && sent.report.seq === told) this.#settledTold = sent.settled;
  }
}
