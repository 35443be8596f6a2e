/** Values that plugins attach to an object of the core, each under its own key. */

export interface PluginContextKey<T> {
  readonly name: string;
  /** Absent at run time: it carries the type. */
  readonly '~type'?: (value: T) => T;
}

/** Creates a key. @example const CHOSEN = contextKey<Chosen>('chosen'); */
export function createContextKey<T>(name: string): PluginContextKey<T> {
  return { name };
}

/** Values by key. */
export class PluginContextValues {
  readonly #values = new Map<object, unknown>();

  get<T>(at: PluginContextKey<T>): T | undefined {
    // The assertion is safe, because `set` accepts only a value of the key's type.
    return this.#values.get(at) as T | undefined;
  }

  set<T>(at: PluginContextKey<T>, value: T): void {
    this.#values.set(at, value);
  }
}
