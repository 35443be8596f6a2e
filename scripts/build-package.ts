/** Builds the package: a module and its types for each file that an entry of package.json reaches. */
import { spawnSync } from 'node:child_process';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const compiler = createRequire(import.meta.url).resolve('typescript/package.json');

// Files whose source was removed must not be packed.
await rm(join(root, 'dist'), { recursive: true, force: true });
const { status } = spawnSync(
  process.execPath,
  [join(dirname(compiler), 'bin/tsc'), '-p', 'scripts/tsconfig.package.json'],
  {
    cwd: root,
    stdio: 'inherit',
  },
);
process.exitCode = status ?? 1;

// What adds to types of another file names it as the source does: the compiler rewrites this in imports alone.
for (const name of await readdir(join(root, 'dist'), { recursive: true })) {
  if (!name.endsWith('.d.ts')) continue;
  const types = await readFile(join(root, 'dist', name), 'utf8');
  const added = types.replaceAll(/^(declare module '.*)\.ts'/gm, "$1.js'");
  if (added !== types) await writeFile(join(root, 'dist', name), added);
}
