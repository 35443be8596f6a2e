import fc from 'fast-check';
import { expect, test } from 'vitest';
import { digest, randomFrom } from '../../../src/simulator/random/digest.ts';
import { textMatching } from '../../../src/simulator/text/pattern-text.ts';
import { runs, tryCases } from '../../support/runs.ts';

const random = randomFrom(digest('test'));

const { pattern: patterns } = fc.letrec<{ pattern: string; atom: string }>((tie) => ({
  atom: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom(
      'a',
      'B',
      '7',
      '-',
      '\\.',
      '\\d',
      '\\w',
      '\\s',
      '\\S',
      '.',
      '[a-f]',
      '[^a-z]',
      '[\\d_-]',
      '\\x41',
      '\\u00e9',
      '\\/',
      '[.*+]',
      'é',
      '😀',
    ),
    tie('pattern').map((inner) => `(?:${inner})`),
    tie('pattern').map((inner) => `(${inner})`),
  ),
  pattern: fc.oneof(
    fc
      .array(
        fc
          .tuple(tie('atom'), fc.constantFrom('', '', '?', '*', '+', '{2}', '{1,3}', '{0,}', '+?'))
          .map(([atom, times]) => atom + times),
        { minLength: 1, maxLength: 3 },
      )
      .map((parts) => parts.join('')),
    fc.tuple(tie('atom'), tie('atom')).map((branches) => branches.join('|')),
  ),
}));

test('writes a text that matches, for patterns that it knows', () => {
  tryCases(runs(1000), patterns, (pattern) => {
    const text = textMatching(`^(?:${pattern})$`, 0, 10_000, random);
    expect(text).toMatch(new RegExp(`^(?:${pattern})$`, 'u'));
  });
});

test('makes a text for a pattern as long as is wanted, or says that it cannot', () => {
  expect(textMatching('^[a-z]+$', 12, 12, random)).toMatch(/^[a-z]{12}$/);
  expect(textMatching('^ab$', 5, 9, random)).toBeUndefined();
});

test('leaves alone what it does not know, and what would not end', () => {
  for (const pattern of [
    '(a)\\1',
    '(?<=a)b',
    '(?=a)a',
    '[',
    '(',
    'a**',
    '\\p{Script=Greek}',
    '((a{1000}){1000}){1000}',
    '('.repeat(900),
  ]) {
    expect(textMatching(pattern, 0, 100, random)).toBeUndefined();
  }
  tryCases(100, fc.string(), (pattern) => void expect(() => textMatching(pattern, 0, 50, random)).not.toThrow());
});
