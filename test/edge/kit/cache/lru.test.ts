import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LruCache } from '#edge/kit/cache/lru.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';

const KEYS = ['a', 'b', 'c', 'd', 'e', 'f'];

describe('LruCache', () => {
  test('keeps the most recently used entries, within its limit', () => {
    const step = fc.record({
      key: fc.constantFrom(...KEYS),
      size: fc.integer({ min: 0, max: 70 }),
      how: fc.constantFrom('get', 'set', 'delete', 'has'),
    });
    tryCases(caseCount(500), fc.array(step, { maxLength: 60 }), (steps) => {
      const cache = new LruCache<string, number>({
        maxSize: 100,
        largest: 60,
        computeCachedHistorySize: (size) => size,
      });
      // The model: what was used last stands last.
      let model: { key: string; size: number }[] = [];
      for (const { key, size, how } of steps) {
        const known = model.find((entry) => entry.key === key);
        const others = model.filter((entry) => entry !== known);
        if (how === 'has') expect(cache.has(key)).toBe(known !== undefined);
        else if (how === 'get') {
          expect(cache.get(key)).toBe(known?.size);
          if (known) model = [...others, known];
        } else if (how === 'delete') {
          cache.delete(key);
          model = others;
        } else {
          cache.set(key, size);
          model = size > 60 ? others : [...others, { key, size }];
          while (model.reduce((sum, entry) => sum + entry.size, 0) > 100) model.shift();
        }
      }
      expect(KEYS.filter((key) => cache.has(key))).toEqual(model.map(({ key }) => key).sort());
    });
  });

  test('counts each entry as 1 without a size function', () => {
    const cache = new LruCache<number, string>({ maxSize: 2 });
    for (const key of [1, 2, 3]) cache.set(key, `value ${key}`);
    expect([cache.get(1), cache.get(2), cache.get(3)]).toEqual([undefined, 'value 2', 'value 3']);
    cache.get(2);
    cache.set(4, 'value 4');
    expect([2, 3, 4].filter((key) => cache.has(key))).toEqual([2, 4]);
  });
});
