/** Something that keeps values by keys: a map, a weak map, or a cache. */
interface Keeper<K, V> {
  get(key: K): V | undefined;
  set(key: K, value: V): unknown;
}

/** @returns the value of a key. If there is none, makes one and keeps it. */
export function getOrMake<K, V>(kept: Keeper<K, V>, key: K, make: () => V): V {
  const known = kept.get(key);
  if (known !== undefined) return known;
  const made = make();
  kept.set(key, made);
  return made;
}
