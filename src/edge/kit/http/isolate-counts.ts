/** Counts what happens in this isolate, for `GET /metrics`. Counting costs no call and no row; the counts end with the isolate. */

/** The most values of a label. Later ones share one, because callers and upstreams choose some of the words. */
const MAX_SERIES = 50;
/** No request waits longer for its account, in milliseconds. */
const MAX_ADMISSION_WAIT_MS = 120_000;
/** Replaces values that have no count of their own. */
export const OTHER_LABEL = '(other)';

/** A count for each value of a label, of which there are only so many. */
export class LabelledCounter {
  readonly counts = new Map<string, number>();

  incrementLabel(value: string): void {
    const label = this.counts.has(value) || this.counts.size < MAX_SERIES ? value : OTHER_LABEL;
    this.counts.set(label, (this.counts.get(label) ?? 0) + 1);
  }
}

/** What this isolate has counted since its start, over all of its requests. */
export class IsolateCounters {
  /** Identifies this isolate. It is created at the first use, because Workers have no random numbers while they are loaded. */
  #instance: { id: string; at: number } | undefined;
  /** Requests by the status of their response, by the type of their error, and by the owner of the limit that rejected them. */
  readonly requests = new LabelledCounter();
  readonly errors = new LabelledCounter();
  readonly rejections = new LabelledCounter();
  /** How often a request was sent up again, to the same upstream or to another one. */
  retries = 0;
  /** The time since which each request waits for its account's admission. */
  readonly #pendingAdmissions = new Set<{ since: number }>();
  /** How many have asked and were answered, and for how many milliseconds in all. */
  admissions = 0;
  admissionMs = 0;

  /** @returns its id, and when its first request came in milliseconds since 1970 */
  get isolateInfo(): { id: string; at: number } {
    this.#instance ??= { id: crypto.randomUUID().slice(0, 8), at: Date.now() };
    return this.#instance;
  }

  /**
   * The number of requests that wait for admission now. A request that the runtime has ended with its caller never reports its
   * end, so it counts no longer than it could wait.
   */
  get pendingAdmissionCount(): number {
    const now = Date.now();
    for (const asking of this.#pendingAdmissions)
      if (now - asking.since > MAX_ADMISSION_WAIT_MS) this.#pendingAdmissions.delete(asking);
    return this.#pendingAdmissions.size;
  }

  /** Counts a request whose answer has ended. */
  countEndedRequest({
    status,
    error_type,
    limited_by,
  }: {
    status?: unknown;
    error_type?: unknown;
    limited_by?: unknown;
  }): void {
    void this.isolateInfo;
    this.requests.incrementLabel(String(status ?? 0));
    // Count only the part before a colon. A free-form reason follows it, which would create unlimited label values in the
    // metrics.
    if (error_type !== undefined) this.errors.incrementLabel(String(error_type).split(':', 1)[0] ?? '');
    if (limited_by) this.rejections.incrementLabel(String(limited_by));
  }

  /** Records that a request asks for its admission. @returns a function to call when it has its answer */
  countPendingAdmission(): () => void {
    const asking = { since: Date.now() };
    this.#pendingAdmissions.add(asking);
    return () => {
      if (!this.#pendingAdmissions.delete(asking)) return;
      this.admissions += 1;
      this.admissionMs += Date.now() - asking.since;
    };
  }
}

export const isolateCounts = new IsolateCounters();
