/**
 * Keeps a built Worker, so that later ones are tried on the state that it leaves, and it on theirs:
 * `npm run keep-release [-- FOLDER]`, the folder of a clean checkout of what was released, with its packages installed
 * (absent: this one). Run after each release; it takes the place of the one that was kept before.
 */
import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { brotliCompressSync, constants } from 'node:zlib';
import { type Kept, RELEASE_FOLDER } from './kept-release.ts';

const folder = resolve(process.argv[2] ?? '.');
const run = promisify(execFile);
/** What a built Worker depends on. */
const MADE_OF = ['src', 'wrangler.toml', 'package.json', 'package-lock.json'];

const changed = (await run('git', ['status', '--porcelain', ...MADE_OF], { cwd: folder })).stdout.trim();
if (changed !== '') throw new Error(`${folder} has changes that are in no commit: what is kept must be one.`);
const commit = (await run('git', ['rev-parse', 'HEAD'], { cwd: folder })).stdout.trim();
const made = await mkdtemp(join(tmpdir(), 'sluice-release-'));
await run('npm', ['run', 'deploy', '--', '--dry-run', '--outdir', made], { cwd: folder });
const code = await readFile(join(made, 'index.js'));
await rm(made, { recursive: true });
const kept: Kept = { commit, formats: await formatsOf(folder) };
await mkdir(RELEASE_FOLDER, { recursive: true });
await writeFile(
  join(RELEASE_FOLDER, 'worker.js.br'),
  brotliCompressSync(code, {
    params: { [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_SIZE_HINT]: code.length },
  }),
);
await copyFile(join(folder, 'wrangler.toml'), join(RELEASE_FOLDER, 'wrangler.toml'));
await writeFile(join(RELEASE_FOLDER, 'release.json'), `${JSON.stringify(kept, undefined, 2)}\n`);

/** @returns the formats that a release reads; none for one from before they had versions */
async function formatsOf(checkout: string): Promise<Kept['formats']> {
  const file = pathToFileURL(join(checkout, 'src/edge/kit/objects/stored-format.ts')).href;
  const formats = await import(file).catch((thrown: { code?: unknown }) => {
    if (thrown.code === 'ERR_MODULE_NOT_FOUND') return undefined;
    throw thrown;
  });
  const { FORMATS = {} } = (formats ?? {}) as { FORMATS?: Kept['formats'] };
  return FORMATS;
}
