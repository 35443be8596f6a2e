/** Something that keeps values by keys: a map, a weak map, or a cache. */
interface KeyedStore<K, V> {
  get(key: K): V | undefined;
  set(key: K, value: NoInfer<V>): unknown;
}

/** @returns the value of a key. If there is none, makes one and keeps it. */
export function getOrCreate<K, V>(keeper: KeyedStore<K, V>, key: K, make: () => V): V {
  const present = keeper.get(key);
  if (present !== undefined) return present;
  const value = make();
  keeper.set(key, value);
  return value;
}
