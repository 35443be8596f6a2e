import { build, type Plugin } from 'esbuild';
import { root } from './root.ts';

/**
 * Builds one module for a browser, as a frontend's own builder would.
 *
 * @param source the code of the module; it imports from the repository's root
 * @param plugins compile what esbuild does not
 */
export async function bundleForBrowser(
  source: string,
  loader: 'js' | 'ts' = 'ts',
  plugins: Plugin[] = [],
): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents: source, resolveDir: root, loader },
    bundle: true,
    plugins,
    minify: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    // Code of a server that a test runs itself.
    external: ['node:*'],
    // The package has modules without side effects alone; a page is nothing but its side effects.
    ignoreAnnotations: true,
    alias: {
      'sluice/client/ai-sdk': './src/client/ai-sdk.ts',
      'sluice/client': './src/client/index.ts',
      'sluice/simulator': './src/edge/toolkit/simulator.ts',
    },
    define: { 'process.env.NODE_ENV': '"development"' },
  });
  return outputFiles[0]?.text ?? '';
}
