/** A folder for what only one start, and nobody else on this machine, is to read. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PARENT = fileURLToPath(new URL('../.wrangler', import.meta.url));

/** @returns a new folder, its owner's alone, which is gone when this process ends. */
export function makeStartFolder(): string {
  mkdirSync(PARENT, { recursive: true });
  removeLeftovers();
  const folder = mkdtempSync(join(PARENT, `start-${process.pid}-`));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Removes the folders of starts that were killed together with all that could have done so. */
function removeLeftovers(): void {
  for (const name of readdirSync(PARENT)) {
    const pid = /^start-(\d+)-/.exec(name)?.[1];
    if (pid !== undefined && !isRunning(Number(pid))) rmSync(join(PARENT, name), { recursive: true, force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (thrown) {
    // There may be such a process, of somebody else.
    return (thrown as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}
