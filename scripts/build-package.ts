/**
 * Builds the package: a module and its types for each file that an entry of package.json reaches, its command, and the page with
 * the reference.
 */
import { spawnSync } from 'node:child_process';
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as esbuild from 'esbuild';
import { build } from './build.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const compiler = createRequire(import.meta.url).resolve('typescript/package.json');

// Delete the old output, so that files whose source was removed are not packed.
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

// The compiler replaces `.ts` by `.js` in imports but not in `declare module '….ts'`, so replace it here. Otherwise TypeScript
// would not find the module that the declaration extends.
for (const name of await readdir(join(root, 'dist'), { recursive: true })) {
  if (!name.endsWith('.d.ts')) continue;
  const types = await readFile(join(root, 'dist', name), 'utf8');
  const added = types.replaceAll(/^(declare module '.*)\.ts'/gm, "$1.js'");
  if (added !== types) await writeFile(join(root, 'dist', name), added);
}

await build();
await cp(join(root, 'build'), join(root, 'dist/page'), { recursive: true });

// Bundle only the scripts of the command. Modules of `src/edge` that they import are already in the package, so they stay
// imports.
await esbuild.build({
  entryPoints: [join(root, 'scripts/sluice.ts')],
  outdir: join(root, 'dist/scripts'),
  bundle: true,
  splitting: true,
  platform: 'node',
  format: 'esm',
  target: 'node22',
  external: ['wrangler'],
  plugins: [
    {
      name: 'edge-of-the-package',
      setup: ({ onResolve }) =>
        onResolve({ filter: /^\.\.\/src\// }, ({ path }) => ({
          path: path.replace('/src/', '/').replace(/\.ts$/, '.js'),
          external: true,
        })),
    },
  ],
});
