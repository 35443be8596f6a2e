import fc from 'fast-check';
import { expect, test } from 'vitest';
import { VersionMemory } from '../../src/versions/kv-copies.ts';
import { runs } from '../support/runs.ts';

const placeOf = (name: string, owner = 'alice') => ({ kind: 'prefix', owner, name });

test('an isolate remembers values up to its bytes, the most recently used ones', () => {
  const step = fc.record({
    name: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    length: fc.integer({ min: 1, max: 80 }),
    ask: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const memory = new VersionMemory<string>(100);
      // The model: what was used last stands last.
      let model: { name: string; length: number }[] = [];
      for (const { name, length, ask } of steps) {
        const known = model.find((entry) => entry.name === name);
        if (ask) {
          expect(memory.value(placeOf(name), 'h')).toBe(known && name);
          if (known) model = [...model.filter((entry) => entry !== known), known];
        } else {
          memory.remember(placeOf(name), 'h', name, length);
          if (!known && length <= 100) model.push({ name, length });
          while (model.reduce((sum, entry) => sum + entry.length, 0) > 100) model.shift();
        }
      }
      const kept = ['a', 'b', 'c', 'd', 'e'].filter((name) => memory.value(placeOf(name), 'h') !== undefined);
      expect(kept).toEqual(model.map(({ name }) => name).sort());
    }),
    { numRuns: runs(500) },
  );
});

test('a pointer, or its absence, is believed for a minute, and not after this isolate has written it', () => {
  const memory = new VersionMemory<string>();
  let now = 0;
  Object.assign(memory, { now: () => now });
  memory.believe(placeOf('a'), 'h1');
  memory.believe(placeOf('b'), null);
  now = 59_999;
  expect([memory.pointer(placeOf('a')), memory.pointer(placeOf('b'))]).toEqual(['h1', null]);
  expect(memory.pointer(placeOf('a', 'bob'))).toBeUndefined();
  now = 60_000;
  expect([memory.pointer(placeOf('a')), memory.pointer(placeOf('b'))]).toEqual([undefined, undefined]);
  memory.believe(placeOf('a'), 'h2');
  memory.forget(placeOf('a'));
  expect(memory.pointer(placeOf('a'))).toBeUndefined();
});

test('places whose parts run into each other are different places', () => {
  const memory = new VersionMemory<string>();
  memory.remember(placeOf('a', 'b:c'), 'h', 'one', 1);
  memory.believe(placeOf('a', 'b:c'), 'h');
  expect(memory.value(placeOf('a:b', 'c'), 'h')).toBe('one');
  expect(memory.value(placeOf('a', 'b'), 'h')).toBeUndefined();
  expect(memory.pointer(placeOf('a', 'c'))).toBeUndefined();
});

test('pointers do not pile up', () => {
  const memory = new VersionMemory<string>();
  for (let i = 0; i < 10_001; i += 1) memory.believe(placeOf(`n${i}`), null);
  expect(memory.pointer(placeOf('n0'))).toBeUndefined();
  expect(memory.pointer(placeOf('n1'))).toBeNull();
});
