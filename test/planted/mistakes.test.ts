import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { MISTAKES, withMistake } from './mistakes.ts';

const root = join(import.meta.dirname, '../..');

test.each(MISTAKES)('$name: it can be put into the source, and there are tests that should find it', (mistake) => {
  const right = readFileSync(join(root, mistake.file), 'utf8');
  expect(withMistake(mistake, right)).not.toBe(right);
  expect(mistake.foundBy).toMatch(/\.test\.tsx?$/);
  expect(existsSync(join(root, mistake.foundBy)), mistake.foundBy).toBe(true);
});

test('a mistake whose place is not there once is not put in', () => {
  const mistake = { name: 'm', file: 'f.ts', edits: [['a', 'b']], foundBy: 't' } as const;
  expect(withMistake(mistake, 'xay')).toBe('xby');
  for (const source of ['xy', 'xaya']) expect(() => withMistake(mistake, source)).toThrow('once in f.ts');
});
