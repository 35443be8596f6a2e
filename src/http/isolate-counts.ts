/** Counts what happens in this isolate, for `GET /metrics`. Counting costs no call and no row; the counts end with the isolate. */

/** The most values of a label. Later ones share one, because callers and upstreams choose some of the words. */
const MOST_SERIES = 50;
/** Replaces values that have no count of their own. */
export const OTHER_LABEL = '(other)';

/** A count for each value of a label, of which there are only so many. */
export class LabelledCount {
  readonly counts = new Map<string, number>();

  /** Counts one more. */
  add(value: string): void {
    const kept = this.counts.has(value) || this.counts.size < MOST_SERIES ? value : OTHER_LABEL;
    this.counts.set(kept, (this.counts.get(kept) ?? 0) + 1);
  }
}

/** What this isolate has counted since its start, over all of its requests. */
export class IsolateCounts {
  /** Tells this isolate from others. It is made late, because nothing is random while a Worker is loaded. */
  #begun: { id: string; at: number } | undefined;
  /** Requests by the status of their answer, by the type of their error, and by whose limit has refused them. */
  readonly requests = new LabelledCount();
  readonly errors = new LabelledCount();
  readonly refusals = new LabelledCount();
  /** How often a request was sent up again, to the same upstream or to another one. */
  retries = 0;
  /** The requests that ask their accounts for admission now, and how many have asked, for how many milliseconds in all. */
  waiting = 0;
  asked = 0;
  askedMs = 0;

  /** @returns its id, and when its first request came in milliseconds since 1970 */
  get begun(): { id: string; at: number } {
    this.#begun ??= { id: crypto.randomUUID().slice(0, 8), at: Date.now() };
    return this.#begun;
  }

  /** Counts a request whose answer has ended. */
  ended({ status, error_type, limited_by }: { status?: unknown; error_type?: unknown; limited_by?: unknown }): void {
    void this.begun;
    this.requests.add(String(status ?? 0));
    // Behind a colon stands a reason, which may be any text.
    if (error_type !== undefined) this.errors.add(String(error_type).split(':', 1)[0] ?? '');
    if (limited_by) this.refusals.add(String(limited_by));
  }

  /** Notes that a request asks for its admission. @returns a function to call when it has its answer */
  ask(): () => void {
    const since = Date.now();
    this.waiting += 1;
    return () => {
      this.waiting -= 1;
      this.asked += 1;
      this.askedMs += Date.now() - since;
    };
  }
}

export const isolateCounts = new IsolateCounts();
