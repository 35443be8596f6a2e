import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';

const compiler = process.env.CC ?? 'cc';

/** @returns whether this machine can compile it */
export function hasCompiler(): boolean {
  return spawnSync(compiler, ['--version']).status === 0;
}

/** Compiles what puts the clock of processes ahead: `calendar.c`. @returns its path, for LD_PRELOAD */
export const calendarLibrary = (folder: string): string => compiled('calendar', folder);

/** Compiles what notes the longest stretch of processes: `stretches.c`. @returns its path, for LD_PRELOAD */
export const stretchesLibrary = (folder: string): string => compiled('stretches', folder);

function compiled(name: string, folder: string): string {
  const library = join(folder, `${name}.so`);
  execFileSync(compiler, ['-shared', '-fPIC', '-O2', '-o', library, join(import.meta.dirname, `${name}.c`), '-ldl']);
  return library;
}
