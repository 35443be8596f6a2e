/** How fast this machine is, beside the one on which the day's ceiling was set. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/**
 * What a process takes on that machine while the tests run, in milliseconds of CPU. Calculated: the same tests took 812 s there,
 * and 1,796 s on a virtual machine where it is 102 ms.
 */
const REFERENCE_MS = 46;
const TELL = 'const { user, system } = process.cpuUsage(); console.log(user + system)';

/**
 * Begins a process that does nothing. Like the tests, it reads files, takes new memory and calls the system. Some virtual
 * machines need three times as long for these, while a loop takes as long as anywhere.
 *
 * @returns milliseconds of CPU
 */
export async function beginProcess(): Promise<number> {
  const { stdout } = await promisify(execFile)(process.execPath, ['-e', TELL]);
  return Number(stdout) / 1_000;
}

/** @param begun what processes have taken, during a run @returns how many times as long this machine takes for the same */
export function slowness(begun: readonly number[]): number {
  const sorted = [...begun].sort((one, other) => one - other);
  return (sorted[Math.floor(sorted.length / 2)] ?? REFERENCE_MS) / REFERENCE_MS;
}
