/** A limit that has another value than the author of a change expects. */
export interface LimitConflict {
  limit: string;
  expected: unknown;
  /** Null if the limit is not set. */
  current: unknown;
}
