/**
 * Builds the assets of the Worker in `build/`: the reference, the guides and the page. Wrangler runs it before it bundles the Worker
 * (`[build]` in wrangler.toml), and whenever a file has changed.
 */
import { readdir, readFile, rm } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SHIPPED_SOURCES } from '../src/edge/plugins/webhooks/shipped-sources.ts';
import { createOpenApiDocument } from './described-edge.ts';
import { setDevelopment } from './development.ts';
import { bundleGuides } from './guides.ts';
import { bundlePage } from './page.ts';
import { writeIfChanged } from './put.ts';
import { renderReference } from './reference.ts';

const SOURCE = fileURLToPath(new URL('../src', import.meta.url));
const BUILT = fileURLToPath(new URL('../build', import.meta.url));

/** Brings `build/` up to date. Unchanged files are not written, so that several processes may build at the same time. */
export async function build(): Promise<void> {
  const reference = createOpenApiDocument();
  const files: Record<string, string | Uint8Array> = {
    ...(await bundlePage()),
    ...(await bundleGuides()),
    _headers: await readFile(join(SOURCE, 'page/_headers')),
    'docs.html': renderReference(reference),
    // `GET /openapi.json` selects the routes of a deployment from this document.
    'docs/openapi.json': JSON.stringify(reference),
  };
  for (const [path, content] of Object.entries(files)) await writeIfChanged(join(BUILT, path), content);
  const entries = await readdir(BUILT, { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile() && !Object.hasOwn(files, relative(BUILT, path))) await rm(path, { force: true });
  }
}

if (import.meta.main) {
  const { WRANGLER_COMMAND } = process.env;
  if (WRANGLER_COMMAND) await setDevelopment(WRANGLER_COMMAND, '../../src/edge/development.ts', SHIPPED_SOURCES);
  await build();
}
