/** Says when the `npm run` that has started this process has ended. Then nobody waits for it any more. */
import { readFileSync } from 'node:fs';

const EVERY_MS = 1_000;

/** The processes between this one and `npm`, and `npm` itself. */
interface Run {
  parent: number;
  /** That of the parent, where the parent is the shell that npm runs a script by; undefined where it is npm. */
  grandparent: number | undefined;
}

/** @returns the run that this process belongs to; undefined where npm has not started it, so that it may outlive its parent */
export function npmRun(): Run | undefined {
  if (process.env.npm_lifecycle_event === undefined) return undefined;
  const parent = process.ppid;
  const status = statusOf(parent);
  const isShell = status !== undefined && !/^(npm|node)/.test(status.name);
  return { parent, grandparent: isShell ? status.parent : undefined };
}

/**
 * Calls back once npm, or the shell between, has ended. npm passes SIGTERM to its shell alone, which ends without a word; of
 * SIGHUP and SIGKILL it tells nobody. A parent's end is no event, so it is looked for each second.
 */
export function whenEnded(run: Run, ended: () => void): void {
  const timer = setInterval(() => {
    if (isThere(run)) return;
    clearInterval(timer);
    ended();
  }, EVERY_MS);
  timer.unref();
}

function isThere({ parent, grandparent }: Run): boolean {
  if (process.ppid !== parent) return false;
  return grandparent === undefined || statusOf(parent)?.parent === grandparent;
}

/** @returns the name and the parent of a process; undefined where there is no `/proc`, as on macOS, whose shell becomes the script */
function statusOf(pid: number): { name: string; parent: number } | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  // The name stands in brackets, and may have some in it.
  const [, name = '', parent] = /\((.*)\) \S (\d+) /s.exec(text) ?? [];
  return { name, parent: Number(parent) };
}
