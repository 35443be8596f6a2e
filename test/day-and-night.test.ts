import { execFileSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { relative } from 'node:path';
import { expect, test } from 'vitest';
import { root } from './support/root.ts';

const files = globSync('test/**/*.test.{ts,tsx}', { cwd: root }).sort();

/** @returns the files that Vitest would run */
function listed(env: Record<string, string>): string[] {
  const said = execFileSync(process.execPath, ['node_modules/vitest/vitest.mjs', 'list', '--filesOnly', '--json'], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, NIGHT: undefined, ...env },
  });
  const found = JSON.parse(said.slice(said.indexOf('['))) as { file: string }[];
  return found.map(({ file }) => relative(root, file)).sort();
}

test('each file runs once by day or is named for the night, and the night runs all of them', () => {
  expect(listed({})).toEqual(files.filter((file) => !file.includes('.night.')));
  expect(listed({ NIGHT: '1' })).toEqual(files);
});
