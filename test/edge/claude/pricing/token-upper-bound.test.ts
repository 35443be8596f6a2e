import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { computeTextTokenUpperBound, computeTokenUpperBound } from '#edge/claude/pricing/token-upper-bound.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';
import { TEXTS, TOKEN_COUNTERS } from '#test/support/tokenizers.ts';

describe.each(Object.entries(TOKEN_COUNTERS))('by the tokenizer %s', (_, count) => {
  test.each(Object.entries(TEXTS))('%s has no more tokens than its bound', (_, text) => {
    const long = text.repeat(Math.ceil(2_000 / text.length));
    expect(count(long)).toBeLessThanOrEqual(Math.ceil(computeTextTokenUpperBound(long)));
  });

  test('any slice of these texts has no more tokens than its bound', () => {
    const part = fc
      .constantFrom(...Object.values(TEXTS))
      .chain((text) => fc.tuple(fc.constant(text), fc.nat(text.length - 1), fc.integer({ min: 24, max: 200 })));
    tryCases(caseCount(1_000), part, ([text, from, length]) => {
      const slice = text
        .repeat(5)
        .slice(from, from + length)
        .toWellFormed();
      // A text that is cut in a character, or a word, has a token more at each end.
      expect(count(slice)).toBeLessThanOrEqual(Math.ceil(computeTextTokenUpperBound(slice)) + 2);
    });
  });

  test('random text has no more tokens than its bound', () => {
    const alphabets = [
      'abcdefghijklmnopqrstuvwxyz',
      'ABCDEFGHabcdefgh',
      '0123456789',
      '0123456789abcdef',
      ' \n\t',
      '{}[]":,',
    ];
    const noise = fc
      .constantFrom(...alphabets)
      .chain((alphabet) => fc.string({ unit: fc.constantFrom(...alphabet), minLength: 100, maxLength: 400 }));
    tryCases(caseCount(500), noise, (text) => {
      expect(count(text)).toBeLessThanOrEqual(Math.ceil(computeTextTokenUpperBound(text)));
    });
  });
});

test('the bound of prose, code, JSON, tables and Chinese is at most 2.75 times the highest tokenizer count', () => {
  for (const kind of ['prose', 'code', 'json', 'chinese', 'table'] as const) {
    const text = TEXTS[kind] ?? '';
    const most = Math.max(...Object.values(TOKEN_COUNTERS).map((count) => count(text)));
    expect(computeTextTokenUpperBound(text) / most, kind).toBeLessThanOrEqual(2.75);
  }
});

test('a range of bytes has the bound of only that range', () => {
  const bytes = new TextEncoder().encode('one two three');
  expect(computeTokenUpperBound(bytes, 4, 7)).toBe(computeTextTokenUpperBound('two'));
  expect(computeTokenUpperBound(bytes, 3, 3)).toBe(0);
});
