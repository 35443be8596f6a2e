import fc from 'fast-check';
import { expect, test } from 'vitest';
import { diffLines } from '../../../src/playground/agents/diff-lines.ts';

const texts = fc
  .array(fc.constantFrom('a', 'b', 'c', '', 'a long line'), { maxLength: 30 })
  .map((all) => all.join('\n'));

test('both texts can be read from a comparison, and what they share stands in it once', () => {
  fc.assert(
    fc.property(texts, texts, (before, after) => {
      const rows = diffLines(before, after);
      const read = (side: 'left' | 'right') => rows.flatMap((row) => row[side] ?? []).join('\n');
      expect([read('left'), read('right')]).toEqual([before, after]);
      if (before === after) expect(rows.every(({ left, right }) => left === right)).toBe(true);
    }),
  );
});

test('a line that was put between others is the only one that differs', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(
        fc.string({ minLength: 1 }).map((text) => text.replaceAll('\n', '')),
        { minLength: 1 },
      ),
      fc.nat(),
      (lines, at) => {
        const place = at % (lines.length + 1);
        const after = lines.toSpliced(place, 0, 'put between\t');
        const differ = diffLines(lines.join('\n'), after.join('\n')).filter(({ left, right }) => left !== right);
        expect(differ).toEqual([{ right: 'put between\t' }]);
      },
    ),
  );
});

test('two long texts without a line in common cost no more than their length', () => {
  const long = (word: string) => Array.from({ length: 50_000 }, (_, index) => `${word} ${index}`).join('\n');
  const rows = diffLines(long('old'), long('new'));
  expect(rows).toHaveLength(50_000);
  expect(rows[0]).toEqual({ left: 'old 0', right: 'new 0' });
});
