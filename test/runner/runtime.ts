import { globSync } from 'node:fs';
import { build } from 'esbuild';

/**
 * Finds the tests that need the Workers runtime: those that import something of `cloudflare:`, themselves or through
 * what they import.
 *
 * @param root the folder of the checkout
 * @param exclude patterns of files that are no part of it
 * @returns paths below the root
 */
export async function testsOfRuntime(root: string, exclude: string[]): Promise<string[]> {
  const entryPoints = globSync('test/**/*.test.ts', { cwd: root, exclude });
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints,
    outdir: 'out',
    bundle: true,
    write: false,
    metafile: true,
    format: 'esm',
    packages: 'external',
    external: ['cloudflare:*'],
    // What is built is thrown away: without this it would have each file once for each test that imports it.
    splitting: true,
    // A document that a test checks.
    loader: { '.md': 'text' },
    logLevel: 'error',
  });
  const importsOf = new Map(Object.entries(metafile.inputs).map(([path, { imports }]) => [path, imports]));
  const needs = (path: string, seen = new Set<string>()): boolean => {
    if (seen.has(path)) return false;
    seen.add(path);
    return (importsOf.get(path) ?? []).some(
      ({ path: next, external }) => (external && next.startsWith('cloudflare:')) || needs(next, seen),
    );
  };
  return entryPoints.filter((path) => needs(path));
}
