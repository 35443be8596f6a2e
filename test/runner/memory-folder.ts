import { existsSync, mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';

const MEMORY = '/dev/shm';
/** Many times what a run leaves there at once: containers often have 64 MB, and another run may be beside this one. */
const LEAST_FREE_BYTES = 4_000_000_000;

/**
 * Has this process, and what it starts, put temporary files into memory, into a folder that goes with this process. Does
 * nothing where `TMPDIR` is set, or where the system has no such folder.
 */
export function putTemporaryFilesInMemory(): void {
  if (process.env.TMPDIR !== undefined || freeBytes() < LEAST_FREE_BYTES) return;
  const folder = mkdtempSync(join(MEMORY, 'sluice-tests-'));
  process.env.TMPDIR = folder;
  // What a killed process leaves behind must not stay in memory.
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
}

function freeBytes(): number {
  // Only Linux has it.
  if (!existsSync(MEMORY)) return 0;
  const { bavail, bsize } = statfsSync(MEMORY);
  return bavail * bsize;
}
