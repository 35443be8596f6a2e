/** Stands in the bundle only, where scripts/lazy-schemas.ts puts it. */

/** @returns a stand-in for a schema, which is built when something of it is read for the first time */
export function lazy<T extends object>(build: () => T): T {
  let built: T | undefined;
  const get = (): T => {
    built ??= build();
    return built;
  };
  return new Proxy({} as T, {
    get: (_, name) => Reflect.get(get(), name),
    has: (_, name) => Reflect.has(get(), name),
    getPrototypeOf: () => Reflect.getPrototypeOf(get()),
  });
}
