/** A report of an account's spending: absolute sums that have changed since the last report. */
export interface UsageSumsReport {
  /**
   * The change up to which the pool must know the sums already; otherwise it ignores this report. -1 if this report replaces
   * all earlier ones.
   */
  since: number;
  /** The change up to which this report goes. */
  seq: number;
  rows: UsageSumsReportRow[];
  /** The days and dimensions that the rows report completely. The pool must delete all its other sums of these. */
  whole: Pick<UsageSumsReportRow, 'day' | 'dimension'>[];
}

export interface UsageSumsReportRow {
  /** Days since 1970. */
  day: number;
  /** The group that has paid; empty if none has. */
  group: string;
  dimension: string;
  /** The model, the jti, …; `(other)` for values without a row of their own; an empty tag for requests with any tag. */
  value: string;
  /** The sums, as `packSums` orders them. */
  sums: number[];
}
