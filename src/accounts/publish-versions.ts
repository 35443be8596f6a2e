import type { Surroundings } from '../durable/edge-object.ts';
import { usesKind } from '../versions/kv-copies.ts';
import type { Versions } from '../versions/version-rows.ts';

/** KV has a change by then, or is told it again. */
const TOLD_MS = 60_000;
const RETRY_TELLING_MS = 1_000;

/** Writes to KV what has changed of an account's versions; the alarm repeats what KV did not take. */
export class VersionPublisher {
  readonly #versions: Versions;
  readonly #around: Surroundings;

  constructor(versions: Versions, around: Surroundings) {
    this.#versions = versions;
    this.#around = around;
  }

  /**
   * Writes what has changed of one name.
   *
   * @returns false where KV has not taken it; the alarm will try again
   */
  async publish(kind: string, name: string): Promise<boolean> {
    // Set first: if the object dies while KV is written to, the alarm still comes.
    if (this.#versions.untold) this.#around.alarm.wakeFor(this.#around.now() + TOLD_MS);
    try {
      await this.#versions.tell(kind, name);
      return true;
    } catch {
      this.#wakeSoon();
      return false;
    }
  }

  /** Notes that the account uses a name. The first time KV is told, so that it is known whose ledgers to ask. */
  use(kind: string, name: string, now: number): void {
    if (this.#versions.use(kind, name, now)) this.#around.waitUntil(this.publish(usesKind(kind), name));
  }

  /** Writes all that KV has not taken yet. */
  async publishAll(): Promise<void> {
    if (this.#versions.untold && !(await this.#versions.tellAll())) this.#wakeSoon();
  }

  #wakeSoon(): void {
    this.#around.alarm.wakeFor(this.#around.now() + RETRY_TELLING_MS, 1);
  }
}
