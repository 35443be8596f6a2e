/** Bundles the page: its script, its style, its fonts. */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const SOURCE = fileURLToPath(new URL('../src/page', import.meta.url));
const require = createRequire(import.meta.url);
const CHARTS = require.resolve('charts.css/dist/charts.min.css');
const FORMULAS = require.resolve('katex/dist/katex.min.css');
const FONT = require.resolve('@fontsource-variable/figtree/files/figtree-latin-wght-normal.woff2');
/** The browsers that the page and the guides are made for. */
export const TARGETS = ['es2023', 'chrome123', 'firefox121', 'safari17.5'];
/** The base of paths; nothing is written there. */
export const OUTPUT = join(SOURCE, 'build');

/** @returns the files of the page, by their paths below the root */
export async function bundlePage(): Promise<Record<string, string | Uint8Array>> {
  const { outputFiles } = await build({
    entryPoints: {
      'page/page': join(SOURCE, 'main.tsx'),
      'page/first': join(SOURCE, 'styles/first.css'),
      'page/style': join(SOURCE, 'styles/page.css'),
      'page/charts': CHARTS,
      'page/formulas': FORMULAS,
    },
    outdir: OUTPUT,
    bundle: true,
    // Split the bundle, so that the browser loads parts of the page only when they are opened.
    splitting: true,
    chunkNames: 'page/[name]-[hash]',
    // Keep only the `.woff2` fonts of formulas: browsers load the first format that they support, and all supported browsers
    // support this one.
    assetNames: 'page/[name]-[hash]',
    loader: { '.woff2': 'file' },
    minify: true,
    write: false,
    format: 'esm',
    target: TARGETS,
    jsx: 'automatic',
    jsxImportSource: 'preact',
    external: ['/page/*', '*.woff', '*.ttf'],
    logLevel: 'silent',
  });
  const bundled = outputFiles.map(({ path, contents }) => [relative(OUTPUT, path), contents]);
  return {
    'index.html': await readFile(join(SOURCE, 'index.html')),
    'page/figtree.woff2': await readFile(FONT),
    'page/icon.svg': await readFile(join(SOURCE, 'icon.svg')),
    ...Object.fromEntries(bundled),
  };
}
