import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DEPLOYMENT, SCOPES } from '#edge/auth/identity/identity.ts';
import { canUseVersion, parsePointer, serializePointer, VersionMemory } from '#edge/money/versions/kv-copies.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';

const known = (hash = '') => ({ hash, pinned: [], withdrawn: [] });
const placeOf = (name: string, owner = 'alice') => ({ kind: 'prefix', owner, name });

test('caches the most recently used values up to the byte limit', () => {
  const step = fc.record({
    name: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    length: fc.integer({ min: 1, max: 80 }),
    ask: fc.boolean(),
  });
  tryCases(caseCount(500), fc.array(step, { maxLength: 60 }), (steps) => {
    const memory = new VersionMemory<string>(100);
    // The model: what was used last stands last.
    let model: { name: string; length: number }[] = [];
    for (const { name, length, ask } of steps) {
      const known = model.find((entry) => entry.name === name);
      if (ask) {
        expect(memory.getCachedValue(placeOf(name), 'h')).toBe(known && name);
        if (known) model = [...model.filter((entry) => entry !== known), known];
      } else {
        memory.cacheValue(placeOf(name), 'h', name, length);
        if (!known && length <= 100) model.push({ name, length });
        while (model.reduce((sum, entry) => sum + entry.length, 0) > 100) model.shift();
      }
    }
    const kept = ['a', 'b', 'c', 'd', 'e'].filter((name) => memory.getCachedValue(placeOf(name), 'h') !== undefined);
    expect(kept).toEqual(model.map(({ name }) => name).sort());
  });
});

test('caches a pointer or its absence for a minute, unless the isolate drops it', () => {
  const memory = new VersionMemory<string>();
  let now = 0;
  Object.assign(memory, { now: () => now });
  memory.cachePointer(placeOf('a'), known('h1'));
  memory.cachePointer(placeOf('b'), known());
  now = 59_999;
  expect([memory.getCachedPointer(placeOf('a')), memory.getCachedPointer(placeOf('b'))]).toEqual([
    known('h1'),
    known(),
  ]);
  expect(memory.getCachedPointer(placeOf('a', 'bob'))).toBeUndefined();
  now = 60_000;
  expect([memory.getCachedPointer(placeOf('a')), memory.getCachedPointer(placeOf('b'))]).toEqual([
    undefined,
    undefined,
  ]);
  memory.cachePointer(placeOf('a'), known('h2'));
  memory.dropCachedPointer(placeOf('a'));
  expect(memory.getCachedPointer(placeOf('a'))).toBeUndefined();
});

test('keeps keys apart whose concatenated parts are equal', () => {
  const memory = new VersionMemory<string>();
  memory.cacheValue(placeOf('a', 'b:c'), 'h', 'one', 1);
  memory.cachePointer(placeOf('a', 'b:c'), known('h'));
  expect(memory.getCachedValue(placeOf('a:b', 'c'), 'h')).toBe('one');
  expect(memory.getCachedValue(placeOf('a', 'b'), 'h')).toBeUndefined();
  expect(memory.getCachedPointer(placeOf('a', 'c'))).toBeUndefined();
});

test('limits the number of cached pointers', () => {
  const memory = new VersionMemory<string>();
  for (let i = 0; i < 10_001; i += 1) memory.cachePointer(placeOf(`n${i}`), known());
  expect(memory.getCachedPointer(placeOf('n0'))).toBeUndefined();
  expect(memory.getCachedPointer(placeOf('n1'))).toEqual(known());
});

const HASHES = ['1', '2', '3', '4'].map((digit) => digit.repeat(32));
const some = fc.uniqueArray(fc.constantFrom(...HASHES), { maxLength: 3 });

test('parses a pointer as it was serialized', () => {
  const row = fc.record({ hash: fc.constantFrom(null, ...HASHES), pinned: some, withdrawn: some });
  tryCases(caseCount(300), row, ({ hash, pinned, withdrawn }) => {
    const text = serializePointer({ hash, pinned: pinned.join(), withdrawn: withdrawn.join() });
    if (text !== null) expect(parsePointer(text)).toEqual({ hash: hash ?? '', pinned, withdrawn });
    else expect([hash, withdrawn]).toEqual([null, []]);
  });
});

test('allows no withdrawn version, and an older one only to writers or if it is pinned or listed', () => {
  const asked = fc.record({
    owner: fc.constantFrom('alice', DEPLOYMENT),
    hash: fc.constantFrom(...HASHES),
    known: fc.record({ hash: fc.constantFrom('', ...HASHES), pinned: some, withdrawn: some }),
    scopes: fc.subarray([...SCOPES]),
    listed: fc.option(some, { nil: undefined }),
  });
  tryCases(caseCount(2_000), asked, ({ owner, hash, known, scopes, listed }) => {
    const stores = scopes.includes('admin') || (owner === 'alice' && scopes.includes('prefixes'));
    const isOpen = known.hash === hash || known.pinned.includes(hash) || listed?.includes(hash) === true;
    const isThere = known.hash !== '' && !known.withdrawn.includes(hash);
    expect(canUseVersion(owner, hash, known, { scopes, listed })).toBe(isThere && (isOpen || stores));
  });
});
