import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root } from './support/root.ts';

/** How many lines of code and style a part may have. What is added takes its lines from something else. */
const MOST_LINES = [
  ['src', 86_400],
  ['src/page', 12_240],
  ['test', 103_550],
  ['test/bench', 3_500],
] as const;

test.each(MOST_LINES)('%s has at most %i lines', async (folder, most) => {
  const files = (await readdir(join(root, folder), { recursive: true })).filter((name) => /\.(tsx?|css)$/.test(name));
  const texts = await Promise.all(files.map((name) => readFile(join(root, folder, name), 'utf8')));
  const lines = texts.reduce((sum, text) => sum + text.split('\n').length - 1, 0);
  expect(lines).toBeGreaterThan(0);
  expect(lines).toBeLessThanOrEqual(most);
});
