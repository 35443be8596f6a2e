/** Makes a private folder for one start: nobody else on this machine can read it. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PARENT = fileURLToPath(new URL('../.wrangler', import.meta.url));

/** @returns the path of a new folder that only its owner can read. It is deleted when this process ends. */
export function makeStartFolder(): string {
  mkdirSync(PARENT, { recursive: true });
  removeLeftovers();
  const folder = mkdtempSync(join(PARENT, `start-${process.pid}-`));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Deletes the folders of starts that were killed, and so could not do it themselves. */
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
    // A process with this id may exist, but belong to another user.
    return (thrown as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}
