import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { root } from './root.ts';

/** Outside of `build/`, because everything in there is served. */
export const UNSERVED = join(root, '.wrangler/build');

/** Writes a file if its content is another one, atomically: a server that reads it never sees a part of it. */
export async function writeIfChanged(path: string, content: string | Uint8Array): Promise<void> {
  const wanted = Buffer.from(content);
  // If the old file cannot be read, treat it as missing: if there is a problem, writing the file reports it.
  const there = await readFile(path).catch(() => undefined);
  if (there?.equals(wanted)) return;
  await mkdir(dirname(path), { recursive: true });
  await mkdir(UNSERVED, { recursive: true });
  const unfinished = join(UNSERVED, `${process.pid}-${basename(path)}`);
  await writeFile(unfinished, wanted);
  await rename(unfinished, path);
}
