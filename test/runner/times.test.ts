import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { chooseFitting, keepSeconds, readSeconds, secondsOf } from './times.ts';

test('files are chosen in their order while they fit, and a quick one still fits behind a slow one', () => {
  const known = { own: 40, way: 15, slow: 10, quick: 5 };
  expect(chooseFitting(['own', 'way', 'slow', 'quick'], known, 60)).toEqual({
    chosen: ['own', 'way', 'quick'],
    left: ['slow'],
    seconds: 60,
  });
});

test('the first file runs, however long it takes', () => {
  expect(chooseFitting(['long', 'short'], { long: 90, short: 1 }, 60)).toMatchObject({
    chosen: ['long'],
    left: ['short'],
  });
});

test('a run adds its times to those of other runs, and a file that never ran is guessed by its folder', () => {
  const root = mkdtempSync(join(tmpdir(), 'sluice-times-'));
  expect(readSeconds(root)).toEqual({});
  keepSeconds(root, { 'test/e2e/a.test.ts': 4, 'test/b.test.ts': 1 });
  keepSeconds(root, { 'test/b.test.ts': 3 });
  const known = readSeconds(root);
  rmSync(root, { recursive: true });
  expect(known).toEqual({ 'test/e2e/a.test.ts': 4, 'test/b.test.ts': 3 });
  expect(secondsOf('test/e2e/a.test.ts', known)).toBe(4);
  expect(secondsOf('test/e2e/page/c.test.ts', known)).toBeGreaterThan(secondsOf('test/e2e/c.test.ts', known));
});
