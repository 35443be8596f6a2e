import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseStoredTags, parseTagsClaim, parseTagsHeader } from '#edge/auth/identity/tags.ts';
import { tryCases } from '#test/support/property-cases.ts';

const name = fc.stringMatching(/^[A-Za-z0-9_.-]{1,64}$/).filter((text) => text !== '__proto__');
const value = fc.stringMatching(/^[A-Za-z0-9_.:@/+-]{1,128}$/);
const tags = fc.uniqueArray(fc.tuple(name, value), { maxLength: 8, selector: ([key]) => key });

test('parses the same tags from a header, a text claim and an object claim, in any order', () => {
  tryCases(100, tags, fc.constantFrom(',', ', ', ' , '), (pairs, comma) => {
    const header = (some: typeof pairs) => some.map(([key, one]) => `${key}=${one}`).join(comma);
    const stored = parseTagsHeader(header(pairs));
    expect(parseStoredTags(stored ?? null)).toEqual(Object.fromEntries(pairs));
    expect(parseTagsHeader(header([...pairs].reverse()))).toBe(stored);
    expect(parseTagsClaim(header(pairs))).toBe(stored);
    expect(parseTagsClaim(Object.fromEntries(pairs))).toBe(stored);
  });
});

test.each([
  'feature',
  'feature=',
  '=search',
  'a=b=c',
  'a=1,a=2',
  'a=1;b=2',
  'a="b"',
  'é=1',
  '__proto__=1',
  'a=é',
  `${'a'.repeat(65)}=1`,
  `a=${'1'.repeat(129)}`,
  '1=1,2=2,3=3,4=4,5=5,6=6,7=7,8=8,9=9',
])('parses no tags from the header %s', (header) => {
  expect(parseTagsHeader(header)).toBeUndefined();
});

test('parses no tags from a hundred thousand pairs', () => {
  for (const pairOf of [() => 'a=1', (nth: number) => `a${nth}=1`, () => '=', () => 'a']) {
    const pairs = Array.from({ length: 100_000 }, (_, nth) => pairOf(nth));
    expect(parseTagsHeader(pairs.join(','))).toBeUndefined();
    expect(parseTagsClaim(pairs.join(','))).toBeUndefined();
  }
});

test.each([
  [['a=1']],
  [7],
  [null],
  [{ a: 1 }],
  [{ 'a,b': '1' }],
  [{ a: '1,b=2' }],
  [JSON.parse('{"a":"1","__proto__":"2"}')],
])('parses no tags from the claim %j', (claim) => {
  expect(parseTagsClaim(claim)).toBeUndefined();
});
