import { build, type Plugin } from 'esbuild';
import { root } from './root.ts';

interface BundleOptions {
  /** The file of the module `#development`. Default: that of the source. Undefined: it is no development server. */
  development?: string | undefined;
  /** What changes the source before. */
  plugins?: Plugin[];
}

const DEVELOPMENT_FLAG = `${root}src/edge/development.ts`;

/**
 * Bundles a Worker as `wrangler dev` does: with the simulator, and without a credential for this machine.
 *
 * @param entry the file of the Worker; absent for the product's own
 * @returns the code of its only module
 */
export async function bundleWorker(
  entry = 'src/edge/index.ts',
  { plugins = [], ...how }: BundleOptions = {},
): Promise<string> {
  const { development } = { development: DEVELOPMENT_FLAG, ...how };
  const { outputFiles } = await build({
    entryPoints: [entry],
    absWorkingDir: root,
    bundle: true,
    write: false,
    minify: true,
    format: 'esm',
    target: 'es2024',
    conditions: ['workerd', 'worker', 'browser'],
    mainFields: ['browser', 'module', 'main'],
    external: ['cloudflare:*', 'node:*'],
    define: { 'navigator.userAgent': '"Cloudflare-Workers"' },
    ...(development === undefined ? {} : { alias: { '#development': development } }),
    plugins,
  });
  return outputFiles[0]?.text ?? '';
}
