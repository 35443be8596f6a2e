import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { MISTAKES, withMistake } from './mistakes.ts';

const root = join(import.meta.dirname, '../..');

test.each(MISTAKES)('$name: can be inserted into the source, and has existing tests to find it', (mistake) => {
  const right = readFileSync(join(root, mistake.file), 'utf8');
  expect(withMistake(mistake, right)).not.toBe(right);
  expect(mistake.foundBy).toMatch(/\.test\.tsx?$/);
  expect(existsSync(join(root, mistake.foundBy)), mistake.foundBy).toBe(true);
});

test('withMistake rejects a mistake if the text that it replaces does not occur exactly once', () => {
  const mistake = { name: 'm', file: 'f.ts', edits: [['a', 'b']], foundBy: 't' } as const;
  expect(withMistake(mistake, 'xay')).toBe('xby');
  for (const source of ['xy', 'xaya']) expect(() => withMistake(mistake, source)).toThrow('once in f.ts');
});
