/** Copies an account’s versions to KV, and repeats failed writes until KV has them. */

import type { DurableObjectServices } from '../../durable/edge-object.ts';
import type { RegistryVersionStore } from './version-rows.ts';

/** If KV does not have a change after this time, it is written again. Milliseconds. */
const PUBLISH_DEADLINE_MS = 60_000;
const PUBLISH_RETRY_MS = 1_000;

/** Writes the changes of an account's versions to KV. The alarm repeats failed writes. */
export class VersionPublisher {
  readonly #versions: RegistryVersionStore;
  readonly #surroundings: DurableObjectServices;

  constructor(versions: RegistryVersionStore, around: DurableObjectServices) {
    this.#versions = versions;
    this.#surroundings = around;
  }

  /**
   * Writes the changes of one name.
   *
   * @returns false if the write has failed. The alarm will try again
   */
  async publishNameToKv(kind: string, name: string): Promise<boolean> {
    // Set the alarm before the write to KV, so that the name is published later if the object dies during the write.
    if (this.#versions.hasUnpublishedChanges)
      this.#surroundings.alarm.scheduleAt(this.#surroundings.now() + PUBLISH_DEADLINE_MS);
    try {
      await this.#versions.publishNameToKv(kind, name);
      if (!this.#versions.hasUnpublishedChanges) this.#surroundings.retries.recordSuccess('version_copy');
      return true;
    } catch (thrown) {
      this.#schedulePublishRetry(thrown);
      return false;
    }
  }

  /** Writes all changes that KV does not have yet. */
  async publishAllToKv(): Promise<void> {
    if (!this.#versions.hasUnpublishedChanges) return;
    const failed = await this.#versions.publishAllToKv();
    if (failed) this.#schedulePublishRetry(failed.thrown);
    else this.#surroundings.retries.recordSuccess('version_copy');
  }

  #schedulePublishRetry(thrown: unknown): void {
    const nextAt = this.#surroundings.now() + PUBLISH_RETRY_MS;
    this.#surroundings.alarm.scheduleAt(nextAt, 1);
    this.#surroundings.retries.recordFailure('version_copy', thrown, nextAt);
  }
}
