import type { TurnRunner } from '../turn/turn-handle.ts';

/**
 * The lock of a conversation: one turn runs at a time, and none while a history is being stored.
 *
 * The lock is in the memory of the object. Whether it is free is decided in the step that acquires it, without waiting. A crash
 * releases it: the turns that were running are found in their rows, and end or acquire the lock again before anything else.
 */
export class TurnLock {
  readonly #onRelease: () => void;
  #holder: TurnRunner | undefined;
  #isStoringHistory = false;

  /** @param onRelease called when a turn has ended and released the lock */
  constructor(onRelease: () => void) {
    this.#onRelease = onRelease;
  }

  /** The turn that runs. */
  get holder(): TurnRunner | undefined {
    return this.#holder;
  }

  /** Whether a history is being stored: an import or a copy. */
  get isStoringHistory(): boolean {
    return this.#isStoringHistory;
  }

  get isFree(): boolean {
    return this.#holder === undefined && !this.#isStoringHistory;
  }

  /** Acquires the lock for a turn that is stored and begins to run. */
  acquire(turn: TurnRunner): void {
    this.#holder = turn;
  }

  /** Releases the lock, because its turn has ended and its end is stored. */
  release(): void {
    this.#holder = undefined;
    this.#onRelease();
  }

  /** Releases the lock of a turn that is damaged: nothing of the turn is read any more. */
  releaseDamaged(): void {
    this.#holder = undefined;
  }

  /** Holds the lock until a history is stored. */
  async holdWhileStoring(stored: Promise<void>): Promise<void> {
    this.#isStoringHistory = true;
    try {
      await stored;
    } finally {
      this.#isStoringHistory = false;
    }
  }
}
