import type { ObjectServices } from '../../durable/edge-object.ts';
import type { Versions } from './version-rows.ts';

/** If KV does not have a change after this time, it is written again. Milliseconds. */
const PUBLISH_DEADLINE_MS = 60_000;
const PUBLISH_RETRY_MS = 1_000;

/** Writes the changes of an account's versions to KV. The alarm repeats failed writes. */
export class VersionPublisher {
  readonly #versions: Versions;
  readonly #surroundings: ObjectServices;

  constructor(versions: Versions, around: ObjectServices) {
    this.#versions = versions;
    this.#surroundings = around;
  }

  /**
   * Writes the changes of one name.
   *
   * @returns false if the write has failed. The alarm will try again
   */
  async publish(kind: string, name: string): Promise<boolean> {
    // The alarm is set first, so that it rings even if the object dies during the write.
    if (this.#versions.hasUnpublished)
      this.#surroundings.alarm.schedule(this.#surroundings.now() + PUBLISH_DEADLINE_MS);
    try {
      await this.#versions.publish(kind, name);
      this.#surroundings.retries.recordSuccess('version_copy');
      return true;
    } catch (thrown) {
      this.#retry(thrown);
      return false;
    }
  }

  /** Writes all changes that KV does not have yet. */
  async publishAll(): Promise<void> {
    if (!this.#versions.hasUnpublished) return;
    const failed = await this.#versions.publishAll();
    if (failed) this.#retry(failed.thrown);
    else this.#surroundings.retries.recordSuccess('version_copy');
  }

  #retry(thrown: unknown): void {
    const nextAt = this.#surroundings.now() + PUBLISH_RETRY_MS;
    this.#surroundings.alarm.schedule(nextAt, 1);
    this.#surroundings.retries.recordFailure('version_copy', thrown, nextAt);
  }
}
