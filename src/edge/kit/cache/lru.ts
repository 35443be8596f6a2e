import { LRUCache } from 'lru-cache';

/**
 * What is used of a cache. The library's own type needs Node's types, with which a Worker on the package would have to be
 * compiled as well.
 */
export interface LruCache<K, V> {
  get(key: K): V | undefined;
  peek(key: K): V | undefined;
  has(key: K): boolean;
  set(key: K, value: V): unknown;
  delete(key: K): boolean;
}

/**
 * Creates a cache of so many entries, which drops the least recently used one first. It does not use the option `max`, for
 * which the library allocates all its entries at once: 24 kB for 1,000 entries, and each awake object of an account has five
 * such caches.
 */
export function createLruCache<K extends {}, V extends {}>(maxEntries: number): LruCache<K, V> {
  return new LRUCache({ maxSize: maxEntries, sizeCalculation: () => 1 });
}
