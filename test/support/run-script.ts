/** Runs a script of scripts/ in this very process: to start one takes as long as a hundred of these. */
import { pathToFileURL } from 'node:url';
import { vi } from 'vitest';

/** How a script has ended. */
export interface ScriptResult {
  status: number;
  stdout: string;
  stderr: string;
}

/** Thrown in place of the end of the process. */
class ProcessExit extends Error {
  readonly status: number;
  constructor(status: number) {
    super(`The script ends with ${status}.`);
    this.status = status;
  }
}

let runCount = 0;

/**
 * Runs a script from its first line to its last, or to its `process.exit`. What it imports is loaded once for all.
 *
 * @param path of the script
 * @param args what stands behind it on the command line
 * @param env variables besides those of this process; undefined for one that the script must not have
 */
export async function runScript(
  path: string,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>> = {},
): Promise<ScriptResult> {
  const ended: ScriptResult = { status: 0, stdout: '', stderr: '' };
  const captureOutput = (to: 'stdout' | 'stderr') => (text: unknown) => {
    ended[to] += `${String(text)}\n`;
  };
  const spies = [
    vi.spyOn(console, 'log').mockImplementation(captureOutput('stdout')),
    vi.spyOn(console, 'error').mockImplementation(captureOutput('stderr')),
    vi.spyOn(process, 'exit').mockImplementation((code) => {
      throw new ProcessExit(Number(code ?? 0));
    }),
  ];
  const { argv } = process;
  process.argv = [process.execPath, path, ...args];
  for (const [name, value] of Object.entries({ npm_lifecycle_event: undefined, ...env })) vi.stubEnv(name, value);
  runCount += 1;
  try {
    // Another address each time, so that it is run again.
    await import(/* @vite-ignore */ `${pathToFileURL(path).href}?run=${runCount}`);
  } catch (thrown) {
    if (!(thrown instanceof ProcessExit)) throw thrown;
    ended.status = thrown.status;
  } finally {
    process.argv = argv;
    vi.unstubAllEnvs();
    for (const spy of spies) spy.mockRestore();
  }
  return ended;
}
