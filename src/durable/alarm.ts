/** The only alarm of an object. It is set to the earliest time that a part of the object needs. */
export class Alarm {
  readonly #storage: DurableObjectStorage;
  readonly #grain: number;
  #at: number | null = null;

  /** @param grain times are rounded up to multiples of this many milliseconds, so that many requests share one alarm */
  constructor(storage: DurableObjectStorage, grain = 1) {
    this.#storage = storage;
    this.#grain = grain;
  }

  /** Reads when the alarm is due. Call it before anything else, within `blockConcurrencyWhile`. */
  async load(): Promise<void> {
    this.#at = await this.#storage.getAlarm();
  }

  /** Notes that the alarm has gone off, so that none is set any more. */
  fired(): void {
    this.#at = null;
  }

  /**
   * Sets the alarm to `time` or soon after, unless it is already set to an earlier time.
   *
   * @param time milliseconds since 1970
   * @param grain replaces the object's own grain, for work that must not wait so long
   */
  wakeFor(time: number, grain = this.#grain): void {
    const at = Math.ceil(time / grain) * grain;
    if (this.#at !== null && this.#at <= at) return;
    this.#at = at;
    void this.#storage.setAlarm(at);
  }
}
