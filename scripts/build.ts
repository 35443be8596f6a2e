/** Builds the assets of the Worker in `build/`: the reference, the guides and the page. Run by start, test and deploy. */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createReference } from './described-edge.ts';
import { bundleGuides } from './guides.ts';
import { bundlePage } from './page.ts';
import { referencePage } from './reference.ts';

const SOURCE = fileURLToPath(new URL('../src', import.meta.url));
const BUILT = fileURLToPath(new URL('../build', import.meta.url));
/** Outside of `build/`, because everything in there is served. */
const UNFINISHED = fileURLToPath(new URL('../.wrangler/build', import.meta.url));

/** As wrangler.toml names it. */
const DEVELOPMENT = join(UNFINISHED, 'development.ts');

/** Brings `build/` up to date. Unchanged files are not written, so that several processes may build at the same time. */
export async function build(): Promise<void> {
  await mkdir(UNFINISHED, { recursive: true });
  // wrangler.toml names it, so wrangler stops without it. With MODE, as `npm start` passes it, either does the same.
  if (!existsSync(DEVELOPMENT)) await put(DEVELOPMENT, moduleOf('no-development'));
  const reference = createReference();
  const files: Record<string, string | Uint8Array> = {
    ...(await bundlePage()),
    ...(await bundleGuides()),
    _headers: await readFile(join(SOURCE, 'page/_headers')),
    'docs.html': referencePage(reference),
    'openapi.json': JSON.stringify(reference),
  };
  for (const [path, content] of Object.entries(files)) await put(join(BUILT, path), Buffer.from(content));
  const entries = await readdir(BUILT, { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile() && !Object.hasOwn(files, relative(BUILT, path))) await rm(path, { force: true });
  }
}

/** Replaces a file atomically: a server that reads it never sees a part of it. */
async function put(path: string, content: Buffer): Promise<void> {
  // If the old file cannot be read, writing gives the error.
  const there = await readFile(path).catch(() => undefined);
  if (there?.equals(content)) return;
  await mkdir(dirname(path), { recursive: true });
  await mkdir(UNFINISHED, { recursive: true });
  const unfinished = join(UNFINISHED, `${process.pid}-${basename(path)}`);
  await writeFile(unfinished, content);
  await rename(unfinished, path);
}

/**
 * Builds, and writes what wrangler puts in place of `#development`. Another script of this folder that has started wrangler
 * has done both already: it says so by SLUICE_BUILT, `npm start` with a file for the first time alone. What wrangler asks
 * for later is a build of what has changed.
 */
async function buildForWrangler(command: string): Promise<void> {
  const { SLUICE_BUILT: built } = process.env;
  if (built === 'true') return;
  if (built !== undefined) {
    if (existsSync(built)) await rm(built);
    else await build();
    return;
  }
  await put(DEVELOPMENT, moduleOf(command === 'dev' ? 'development' : 'no-development'));
  await build();
}

function moduleOf(added: 'development' | 'no-development'): Buffer {
  return Buffer.from(`export { development } from '../../src/edge/${added}.ts';\n`);
}

if (import.meta.main) {
  const { WRANGLER_COMMAND } = process.env;
  await (WRANGLER_COMMAND === undefined ? build() : buildForWrangler(WRANGLER_COMMAND));
}
