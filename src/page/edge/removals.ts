/** Deletes after a moment in which that can be undone. Until then what is deleted stays in its place. */
import { signal } from '@preact/signals';
import { formatErrorForUser } from './client.ts';
import { token } from './credential.ts';

const UNDO_MS = 20_000;

interface PendingRemoval {
  /** Deletes it for good. The page may be closing: only a request with `keepalive` arrives then. */
  deletePermanently(): Promise<unknown>;
  /** Leaves the resource's page, if it is open. */
  leave?(): void;
}

/** The hashes of the URL where something was open, and where one was once that was left. */
type LeftAddressPair = readonly [from: string, to: string];

/** Keeps what was deleted a moment ago, in one list. */
export class UndoableRemovals {
  readonly pendingRemovals = signal<ReadonlyMap<string, PendingRemoval>>(new Map());
  readonly fault = signal<string | undefined>(undefined);
  /** The resources that were deleted by the keyboard. The focus then moves to the undo button. */
  readonly removedByKeyboard = new Set<string>();
  readonly #timers = new Map<string, ReturnType<typeof setTimeout>>();
  readonly #finishingKeys = new Set<string>();
  readonly #leftAddresses = new Map<string, LeftAddressPair>();

  constructor() {
    // Another token may belong to another account, which can have other resources with the same names. Forget the pending
    // deletions.
    token.subscribe(() => {
      for (const key of this.pendingRemovals.peek().keys()) this.#forgetRemoval(key);
    });
    addEventListener('pagehide', () => {
      for (const key of this.pendingRemovals.peek().keys()) this.#finishRemoval(key);
    });
  }

  startRemoval(key: string, removal: PendingRemoval): void {
    if (document.activeElement?.matches(':focus-visible')) this.removedByKeyboard.add(key);
    this.pendingRemovals.value = new Map(this.pendingRemovals.value).set(key, removal);
    this.scheduleDeletion(key);
    if (!removal.leave) return;
    const from = location.hash;
    removal.leave();
    this.#leftAddresses.set(key, [from, location.hash]);
  }

  scheduleDeletion(key: string): void {
    this.pauseDeletion(key);
    if (this.pendingRemovals.peek().has(key))
      this.#timers.set(
        key,
        setTimeout(() => this.#finishRemoval(key), UNDO_MS),
      );
  }

  /** Waits with a removal, while the keyboard is at its undo. */
  pauseDeletion(key: string): void {
    clearTimeout(this.#timers.get(key));
  }

  /** Brings it back. It is opened again if it was open, unless something else is by now. */
  undoRemoval(key: string): void {
    if (this.#finishingKeys.has(key)) return;
    const left = this.#forgetRemoval(key);
    if (left && location.hash === left[1]) location.hash = left[0];
  }

  #forgetRemoval(key: string): LeftAddressPair | undefined {
    this.pauseDeletion(key);
    const rest = new Map(this.pendingRemovals.peek());
    rest.delete(key);
    this.pendingRemovals.value = rest;
    this.removedByKeyboard.delete(key);
    const left = this.#leftAddresses.get(key);
    this.#leftAddresses.delete(key);
    return left;
  }

  #finishRemoval(key: string): void {
    const removal = this.pendingRemovals.peek().get(key);
    if (!removal || this.#finishingKeys.has(key)) return;
    this.#finishingKeys.add(key);
    // Keep the pending deletion until the edge has deleted the resource, so that the row stays grey.
    removal
      .deletePermanently()
      .catch((thrown: unknown) => {
        this.fault.value = formatErrorForUser(thrown);
      })
      .finally(() => {
        this.#finishingKeys.delete(key);
        this.#forgetRemoval(key);
      });
  }
}
