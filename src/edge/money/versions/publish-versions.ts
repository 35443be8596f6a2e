import type { Surroundings } from '../../durable/edge-object.ts';
import type { Versions } from './version-rows.ts';

/** If KV does not have a change after this time, it is written again. Milliseconds. */
const TOLD_MS = 60_000;
const RETRY_TELLING_MS = 1_000;

/** Writes the changes of an account's versions to KV. The alarm repeats failed writes. */
export class VersionPublisher {
  readonly #versions: Versions;
  readonly #around: Surroundings;

  constructor(versions: Versions, around: Surroundings) {
    this.#versions = versions;
    this.#around = around;
  }

  /**
   * Writes the changes of one name.
   *
   * @returns false if the write has failed. The alarm will try again
   */
  async publish(kind: string, name: string): Promise<boolean> {
    // The alarm is set first, so that it rings even if the object dies during the write.
    if (this.#versions.untold) this.#around.alarm.wakeFor(this.#around.now() + TOLD_MS);
    try {
      await this.#versions.tell(kind, name);
      this.#around.retries.succeeded('version_copy');
      return true;
    } catch (thrown) {
      this.#retry(thrown);
      return false;
    }
  }

  /** Writes all changes that KV does not have yet. */
  async publishAll(): Promise<void> {
    if (!this.#versions.untold) return;
    const failed = await this.#versions.tellAll();
    if (failed) this.#retry(failed.thrown);
    else this.#around.retries.succeeded('version_copy');
  }

  #retry(thrown: unknown): void {
    const nextAt = this.#around.now() + RETRY_TELLING_MS;
    this.#around.alarm.wakeFor(nextAt, 1);
    this.#around.retries.failed('version_copy', thrown, nextAt);
  }
}
