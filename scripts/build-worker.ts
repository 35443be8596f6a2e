import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { promisify } from 'node:util';
import { root } from './root.ts';

/** A Worker as it is uploaded. */
export interface BuiltWorker {
  /** The code of its only module. */
  code: string;
  /** The source files of which something is in it, by their paths from its folder. */
  files: string[];
}

/**
 * Builds a Worker as `wrangler deploy` does, and uploads nothing.
 *
 * @param folder where its wrangler.toml is; absent for this checkout
 * @throws Error with what wrangler says where it cannot be built
 */
export async function buildWorker(folder = root): Promise<BuiltWorker> {
  const outdir = await mkdtemp(join(tmpdir(), 'sluice-worker-'));
  try {
    const wrangler = join(root, 'node_modules/wrangler/bin/wrangler.js');
    await promisify(execFile)(process.execPath, [wrangler, 'deploy', '--env', '', '--dry-run', '--outdir', outdir], {
      cwd: folder,
      env: { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: '1' },
    });
    const code = await readFile(join(outdir, 'index.js'), 'utf8');
    const { sources } = JSON.parse(await readFile(join(outdir, 'index.js.map'), 'utf8')) as { sources: string[] };
    return { code, files: sources.map((source) => relative(folder, resolve(outdir, source))) };
  } finally {
    await rm(outdir, { recursive: true, force: true });
  }
}
