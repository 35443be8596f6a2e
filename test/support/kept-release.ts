import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliDecompressSync } from 'node:zlib';
import type { Format } from '../../src/edge/kit/objects/stored-format.ts';

/** Where the kept release lies: its code, compressed, its wrangler.toml, and what it is. */
export const RELEASE_FOLDER = fileURLToPath(new URL('../fixtures/release', import.meta.url));

/** What is known of a release that was kept. */
export interface Kept {
  /** The commit that it was built from. */
  commit: string;
  /** The formats that it reads and writes. */
  formats: Record<string, Format>;
}

/** Reads the release that was kept, with the code of its Worker as it was deployed. */
export async function keptRelease(): Promise<Kept & { code: string; folder: string }> {
  const kept = JSON.parse(await readFile(join(RELEASE_FOLDER, 'release.json'), 'utf8')) as Kept;
  const code = brotliDecompressSync(await readFile(join(RELEASE_FOLDER, 'worker.js.br'))).toString();
  return { ...kept, code, folder: RELEASE_FOLDER };
}
