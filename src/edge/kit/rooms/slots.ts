/** What rooms note about something of the core, each under a name of its own. */

export interface Slot<T> {
  readonly name: string;
  /** Absent at run time: it carries the type. */
  readonly '~type'?: (value: T) => T;
}

/** Makes a slot. @example const CHOSEN = slot<Chosen>('chosen'); */
export function slot<T>(name: string): Slot<T> {
  return { name };
}

/** Values by slot. */
export class Slots {
  readonly #values = new Map<object, unknown>();

  get<T>(at: Slot<T>): T | undefined {
    // The only cast: `set` has put a value of this type there.
    return this.#values.get(at) as T | undefined;
  }

  set<T>(at: Slot<T>, value: T): void {
    this.#values.set(at, value);
  }
}
