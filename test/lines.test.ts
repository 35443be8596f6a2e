import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root } from './support/root.ts';

/** How many lines of code and style a part may have. What is added takes its lines from something else. */
const MOST_LINES = [
  ['src', 88_472],
  ['src/page', 12_576],
  ['test', 108_293],
  ['test/bench', 3_500],
] as const;

test.each(MOST_LINES)('%s has at most %i lines', async (folder, most) => {
  const files = (await readdir(join(root, folder), { recursive: true })).filter((name) => /\.(tsx?|css)$/.test(name));
  const texts = await Promise.all(files.map((name) => readFile(join(root, folder, name), 'utf8')));
  const lines = texts.reduce((sum, text) => sum + text.split('\n').length - 1, 0);
  expect(lines).toBeGreaterThan(0);
  expect(lines).toBeLessThanOrEqual(most);
});

test('the files that ARCHITECTURE.md has one begin with are there, and have about as many lines as it says', async () => {
  const map = await readFile(join(root, 'ARCHITECTURE.md'), 'utf8');
  const [, list = ''] = /## Where to begin\n([^#]*)/.exec(map) ?? [];
  const [, said = ''] = /about ([\d,]+) lines/.exec(list) ?? [];
  const names = [...list.matchAll(/`([\w/-]+\.ts)`/g)].map(([, name = '']) => name);
  expect(names.length).toBeGreaterThan(15);
  const texts = await Promise.all(names.map((name) => readFile(join(root, 'src/edge', name), 'utf8')));
  const lines = texts.reduce((sum, text) => sum + text.split('\n').length - 1, 0);
  expect(Math.abs(lines - Number(said.replace(',', '')))).toBeLessThanOrEqual(150);
});
