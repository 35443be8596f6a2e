/** Milliseconds after which an overdue alarm counts as lost by the platform. */
const OVERDUE_MS = 60_000;

/** The only alarm of an object. It is set to the earliest time that a part of the object needs. */
export class DurableObjectAlarm {
  readonly #storage: DurableObjectStorage;
  readonly #now: () => number;
  readonly #abort: (thrown: unknown) => void;
  readonly #grain: number;
  /** The time of the alarm, in milliseconds since 1970; null while none is set. */
  #scheduledAt: number | null = null;
  /** The earliest time at which something is due; null while that is not known. A watch is not due. */
  #dueAt: number | null = null;

  /**
   * @param now milliseconds since 1970
   * @param abort resets the object. Called when the alarm cannot be set, because rows that rely on it must not be stored without it
   * @param grain times are rounded up to multiples of this many milliseconds, so that many requests share one alarm
   */
  constructor(storage: DurableObjectStorage, now: () => number, abort: (thrown: unknown) => void, grain = 1) {
    this.#storage = storage;
    this.#now = now;
    this.#abort = abort;
    this.#grain = grain;
  }

  /**
   * Reads when the alarm is due. Call it before anything else, within `blockConcurrencyWhile`. A time that was lost is set again:
   * otherwise nothing that is due would ever be done.
   */
  async loadAlarmTime(): Promise<void> {
    const at = await this.#storage.getAlarm();
    this.#dueAt = at;
    if (at !== null && at < this.#now() - OVERDUE_MS) this.scheduleWatchAt(at);
    else this.#scheduledAt = at;
  }

  /**
   * Records that the alarm has gone off, so that none is set any more.
   *
   * @param now milliseconds since 1970
   * @returns whether something may be due. If not, the alarm has only watched, and what it was set back to is still known
   */
  markFired(now = Number.POSITIVE_INFINITY): boolean {
    this.#scheduledAt = null;
    if (this.#dueAt !== null && this.#dueAt > now) return false;
    this.#dueAt = null;
    return true;
  }

  /**
   * Sets the alarm to `time` or soon after, unless it is already set to an earlier time.
   *
   * @param time milliseconds since 1970
   * @param grain replaces the object's own grain, for work that must not wait so long
   */
  scheduleAt(time: number, grain = this.#grain): void {
    const at = Math.ceil(time / grain) * grain;
    if (this.#dueAt === null || at < this.#dueAt) this.#dueAt = at;
    this.scheduleWatchAt(at);
  }

  /** Sets the alarm as `scheduleAt` does, for work that runs now. `endWatch` undoes it: nothing is due at that time. */
  scheduleWatchAt(time: number): void {
    // Set the alarm at least a millisecond ahead: an alarm for the current millisecond may be lost if it is set in the handler.
    // See https://github.com/cloudflare/workerd/issues/6866.
    const at = Math.max(time, this.#now() + 1);
    if (this.#scheduledAt !== null && this.#scheduledAt <= at) return;
    this.#setAlarmTo(at);
  }

  /** Sets the alarm back to the earliest time at which something is due. Call it when nothing needs the watch any more. */
  endWatch(): void {
    if (this.#scheduledAt === null || this.#dueAt === null || this.#scheduledAt >= this.#dueAt) return;
    this.#setAlarmTo(this.#dueAt);
  }

  #setAlarmTo(at: number): void {
    this.#scheduledAt = at;
    this.#storage.setAlarm(at).catch(this.#abort);
  }
}
