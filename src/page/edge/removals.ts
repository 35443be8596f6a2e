/** Deletes after a moment in which that can be undone. Until then what is deleted stays in its place. */
import { signal } from '@preact/signals';
import { sentenceOf, token } from './client.ts';

const REMOVAL_MS = 20_000;

interface Removal {
  /** Deletes it for good. The page may be closing: only a request with `keepalive` arrives then. */
  finish(): Promise<unknown>;
  /** Goes elsewhere, where it is open. */
  leave?(): void;
}

/** The hashes of the URL where something was open, and where one was once that was left. */
type Left = readonly [from: string, to: string];

/** Keeps what was deleted a moment ago, in one list. */
export class Removals {
  readonly waiting = signal<ReadonlyMap<string, Removal>>(new Map());
  readonly fault = signal<string | undefined>(undefined);
  /** What the keyboard has deleted: it goes on at the undo. */
  readonly byKeyboard = new Set<string>();
  readonly #timers = new Map<string, ReturnType<typeof setTimeout>>();
  readonly #finishing = new Set<string>();
  readonly #left = new Map<string, Left>();

  constructor() {
    // Another account has other things, maybe of the same names.
    token.subscribe(() => {
      for (const key of this.waiting.peek().keys()) this.#take(key);
    });
    addEventListener('pagehide', () => {
      for (const key of this.waiting.peek().keys()) this.#finish(key);
    });
  }

  remove(key: string, removal: Removal): void {
    if (document.activeElement?.matches(':focus-visible')) this.byKeyboard.add(key);
    this.waiting.value = new Map(this.waiting.value).set(key, removal);
    this.finishSoon(key);
    if (!removal.leave) return;
    const from = location.hash;
    removal.leave();
    this.#left.set(key, [from, location.hash]);
  }

  finishSoon(key: string): void {
    this.hold(key);
    if (this.waiting.peek().has(key))
      this.#timers.set(
        key,
        setTimeout(() => this.#finish(key), REMOVAL_MS),
      );
  }

  /** Waits with a removal, while the keyboard is at its undo. */
  hold(key: string): void {
    clearTimeout(this.#timers.get(key));
  }

  /** Brings it back. It is opened again if it was open, unless something else is by now. */
  undo(key: string): void {
    if (this.#finishing.has(key)) return;
    const left = this.#take(key);
    if (left && location.hash === left[1]) location.hash = left[0];
  }

  #take(key: string): Left | undefined {
    this.hold(key);
    const rest = new Map(this.waiting.peek());
    rest.delete(key);
    this.waiting.value = rest;
    this.byKeyboard.delete(key);
    const left = this.#left.get(key);
    this.#left.delete(key);
    return left;
  }

  #finish(key: string): void {
    const removal = this.waiting.peek().get(key);
    if (!removal || this.#finishing.has(key)) return;
    this.#finishing.add(key);
    // It stays greyed in its row until the edge has deleted it.
    removal
      .finish()
      .catch((thrown: unknown) => {
        this.fault.value = sentenceOf(thrown);
      })
      .finally(() => {
        this.#finishing.delete(key);
        this.#take(key);
      });
  }
}
