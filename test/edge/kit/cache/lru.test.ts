import { describe, expect, test } from 'vitest';
import { createLruCache } from '#edge/kit/cache/lru.ts';

describe('createLruCache', () => {
  test('keeps the most recently used entries, up to their number', () => {
    const cache = createLruCache<number, string>(2);
    for (const key of [1, 2, 3]) cache.set(key, `value ${key}`);
    expect([cache.get(1), cache.get(2), cache.get(3)]).toEqual([undefined, 'value 2', 'value 3']);
    cache.get(2);
    cache.set(4, 'value 4');
    expect([2, 3, 4].filter((key) => cache.has(key))).toEqual([2, 4]);
  });
});
