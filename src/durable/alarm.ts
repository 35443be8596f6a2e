/** The one alarm that an object has, set to the earliest time that a part of it needs. */
export class Alarm {
  readonly #storage: DurableObjectStorage;
  readonly #grain: number;
  #at: number | null = null;

  /** @param grain times are rounded up to multiples of this many milliseconds, so that many requests share one alarm */
  constructor(storage: DurableObjectStorage, grain = 1) {
    this.#storage = storage;
    this.#grain = grain;
  }

  /** Reads when the alarm is due; to be called before anything else, within `blockConcurrencyWhile`. */
  async load(): Promise<void> {
    this.#at = await this.#storage.getAlarm();
  }

  /** Notes that the alarm has gone off: none is set any more. */
  fired(): void {
    this.#at = null;
  }

  /**
   * Has the alarm go off at `time` or soon after, unless it is set to an earlier time already.
   *
   * @param time milliseconds since 1970
   * @param grain replaces the object's own, for what must not wait as long as that
   */
  wakeFor(time: number, grain = this.#grain): void {
    const at = Math.ceil(time / grain) * grain;
    if (this.#at !== null && this.#at <= at) return;
    this.#at = at;
    void this.#storage.setAlarm(at);
  }
}
