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
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: globSync('test/**/*.test.ts', { cwd: root, exclude }),
    outdir: 'out',
    bundle: true,
    write: false,
    metafile: true,
    format: 'esm',
    packages: 'external',
    external: ['cloudflare:*'],
    // An import that nothing uses is loaded all the same.
    treeShaking: false,
    ignoreAnnotations: true,
    logLevel: 'error',
  });
  return Object.values(metafile.outputs).flatMap(({ entryPoint, imports }) =>
    entryPoint !== undefined && imports.some(({ path }) => path.startsWith('cloudflare:')) ? [entryPoint] : [],
  );
}
