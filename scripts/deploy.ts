/**
 * Deploys the edge: `npm run deploy [-- --env staging --dry-run …]`. Other arguments after `--` are passed to
 * `wrangler deploy`. What already exists is left as it is, so it can be run again at any time.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { build } from './build.ts';
import { bundleWorker } from './bundle.ts';
import { deployEdge } from './deploy-edge.ts';
import { root } from './root.ts';

/** Alone in its folder: wrangler uploads every module beside it. */
const BUNDLE = join(root, '.wrangler/worker/index.js');

await deployEdge(async (define) => {
  await build();
  await putBundle(define);
  // Wrangler is to upload what is bundled as it is.
  return [relative(root, BUNDLE), '--no-bundle', '--minify=false'];
});

/** Bundles the Worker, and writes it with its source map, which wrangler uploads beside it. */
async function putBundle(define: Record<string, string>): Promise<void> {
  const { code, map } = await bundleWorker(define);
  await mkdir(dirname(BUNDLE), { recursive: true });
  await writeFile(BUNDLE, code);
  await writeFile(`${BUNDLE}.map`, map);
}
