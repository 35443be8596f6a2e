import { LRUCache } from 'lru-cache';

/**
 * Creates a cache of so many entries, which drops the least recently used one first. It does not use the option `max`, for
 * which the library allocates all its entries at once: 24 kB for 1,000 entries, and each awake object of an account has five
 * such caches.
 */
export function createLruCache<K extends {}, V extends {}>(maxEntries: number): LRUCache<K, V> {
  return new LRUCache({ maxSize: maxEntries, sizeCalculation: () => 1 });
}
