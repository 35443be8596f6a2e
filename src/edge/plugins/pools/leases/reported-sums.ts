import type { Ledger } from '../../../money/ledger/ledger.ts';
import type { UsageSumsReport } from '../contracts/sums.ts';
import { createChangedSumsReport, createNamelessSumsReport } from '../report-sums.ts';

/** The shortest time between two reports of a busy account. Milliseconds. */
const REPORT_AGAIN_MS = 20_000;

/** A report on its way. */
export interface UnconfirmedSumsReport {
  report: UsageSumsReport;
  /** How often something had been settled when it was made. */
  settled: number;
  /** Whether nothing is left to report after it. */
  isLast: boolean;
}

/**
 * Tracks which of an account's sums the deployment's pool knows. Each response of the pool contains the last change that it
 * knows. Nothing is stored here, because an object that wakes gets such a response before it reports anything.
 */
export class ReportedSumsTracker {
  readonly #ledger: Ledger;
  #told: number | undefined;
  /**
   * How many requests were settled, and how many of these the pool knows. (Rows that are not in the rollups have no number.)
   */
  #settled = 1;
  #settledTold = 0;
  #reportedAt = Number.NEGATIVE_INFINITY;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** @returns the last change of the sums that the pool knows; undefined if it has sent no response since the object woke. */
  get lastConfirmedChange(): number | undefined {
    return this.#told;
  }

  /** @returns whether there may be something that the pool does not know. */
  get hasUnreportedChanges(): boolean {
    return this.#told !== this.#ledger.rollups.lastChangeNumber || this.#settledTold < this.#settled;
  }

  /** Records that the pool knows nothing, because the account reports under another id from now on. */
  reset(): void {
    this.#told = undefined;
  }

  /** Records a settlement. */
  recordSettlement(): void {
    this.#settled += 1;
  }

  /** Makes a report, if one is due. @param isIdle whether the account is idle, so that the report need not wait for more */
  createDueReport(now: number, isIdle: boolean): UnconfirmedSumsReport | undefined {
    const isDue = isIdle || now >= this.#reportedAt + REPORT_AGAIN_MS || now < this.#reportedAt;
    if (this.#told === undefined || !this.hasUnreportedChanges || !isDue) return undefined;
    this.#reportedAt = now;
    const report = createChangedSumsReport(this.#ledger, this.#getFirstChangeToReport);
    return { report, settled: this.#settled, isLast: report.seq === this.#ledger.rollups.lastChangeNumber };
  }

  /** @returns the sums that the pool has not confirmed, without names: a report that was sent may be lost */
  createNamelessUnconfirmedReport(): UsageSumsReport {
    return createNamelessSumsReport(this.#ledger, this.#getFirstChangeToReport);
  }

  /**
   * The first change to report. If the pool knows more changes than exist, the account's rows were restored to an earlier time,
   * so all changes are reported.
   */
  get #getFirstChangeToReport(): number {
    const { lastConfirmedChange: told = Number.POSITIVE_INFINITY } = this;
    return told > this.#ledger.rollups.lastChangeNumber ? -1 : told;
  }

  /** Stores which changes the pool knows. @param sent the report that it has confirmed */
  applyPoolConfirmation(told: number, sent: UnconfirmedSumsReport | undefined): void {
    this.#told = told;
    if (sent?.isLast && sent.report.seq === told) this.#settledTold = sent.settled;
  }
}
