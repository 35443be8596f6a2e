/** Something that keeps values by keys: a map, a weak map, or a cache. */
interface Keeper<K, V> {
  get(key: K): V | undefined;
  set(key: K, value: V): unknown;
}

/** @returns the value of a key. If there is none, makes one and keeps it. */
export function getOrMake<K, V>(keeper: Keeper<K, V>, key: K, make: () => V): V {
  const present = keeper.get(key);
  if (present !== undefined) return present;
  const value = make();
  keeper.set(key, value);
  return value;
}
