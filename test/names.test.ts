import { spawnSync } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { expect, test } from 'vitest';
import { root } from './support/root.ts';

/** Programs of their own, each with its own words. */
const PROGRAMS = ['client', 'page', 'simulator', 'api-rules', 'edge/toolkit'];

/** Names that may stand in several files: they mean the same there. */
const MEANT: ReadonlySet<string> = new Set(['LINE_FEED']);

const DECLARATION =
  /^export (?:declare )?(?:default )?(?:abstract )?(?:async )?(?:function\*?|const|let|class|interface|type|enum) (\w+)/gm;

/** @returns which program a file belongs to; the worker's reference describes things by their plain names. */
function programOf(path: string): string {
  const program = PROGRAMS.find((folder) => path.startsWith(`${folder}/`));
  if (program) return program;
  return path.endsWith('.reference.ts') ? path : 'worker';
}

test('no exported name is declared twice in a program', async () => {
  const entries = await readdir(join(root, 'src'), { recursive: true, withFileTypes: true });
  const places = new Map<string, Set<string>>();
  for (const entry of entries) {
    if (!entry.isFile() || !/\.tsx?$/.test(entry.name)) continue;
    const path = join(entry.parentPath, entry.name);
    const file = relative(join(root, 'src'), path);
    for (const [, name = ''] of (await readFile(path, 'utf8')).matchAll(DECLARATION)) {
      const key = `${programOf(file)}: ${name}`;
      places.set(key, (places.get(key) ?? new Set()).add(file));
    }
  }
  expect(places.size).toBeGreaterThan(500);
  const twice = [...places].filter(([key, files]) => files.size > 1 && !MEANT.has(key.replace(/^.*: /, '')));
  const told = twice.map(([key, files]) => `${key} in ${[...files].join(', ')}`);
  expect(told, 'Rename one of them, or add the name to MEANT.').toEqual([]);
});

test('no file tells readers to run `sluice` from the npm registry', () => {
  const inTree = [
    'grep',
    '--untracked',
    '-lIE',
    'npx (--?[a-z-]+ )*[s]luice|npm (i|install|exec|x) (--?[a-z-]+ )*[s]luice\\b[^-/]',
  ];
  const { stdout, status } = spawnSync('git', inTree, { cwd: root, encoding: 'utf8' });
  expect([stdout, status], 'Name the file of the package: npm exec --package=./….tgz').toEqual(['', 1]);
});
