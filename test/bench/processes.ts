import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';

const started = new Set<number>();

/** Sees to it that the process does not outlive this one, however this one ends. */
export function endWithThisProcess(pid: number): void {
  started.add(pid);
}

function killStarted(): void {
  for (const pid of started) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended by itself.
    }
  }
}

process.once('exit', killStarted);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => process.exit(128 + constants.signals[signal]));
}

/** Starts a file of this folder in a process of its own that talks to this one by messages. */
export function startChild(file: URL): ChildProcess {
  const child = fork(file);
  if (child.pid !== undefined) endWithThisProcess(child.pid);
  return child;
}

/** The next message of a child; rejects if it ends before it says something. */
export async function nextMessage<T>(child: ChildProcess): Promise<T> {
  const stop = new AbortController();
  const ended = once(child, 'exit', { signal: stop.signal }).then(([code]) => {
    throw new Error(`${child.spawnargs.at(-1)} ended with ${code}`);
  });
  try {
    const [message] = await Promise.race([once(child, 'message', { signal: stop.signal }), ended]);
    return message as T;
  } finally {
    ended.catch(() => undefined);
    stop.abort();
  }
}

/** What follows the name in /proc/<pid>/stat, from field 3 (state) on: the name itself may contain spaces. */
function statFields(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

/** The processes that this one has started and that still run; none where there is no /proc. */
export function childPids(): number[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return Number(statFields(pid)[1]) === process.pid;
      } catch {
        return false;
      }
    });
}

// Linux shows the times of /proc/<pid>/stat in hundredths of a second, whatever the kernel counts in.
const msPerTick = 10;

/** User and system time that a process has used so far. */
function cpuMs(pid: number): number {
  const fields = statFields(pid);
  return (Number(fields[11]) + Number(fields[12])) * msPerTick;
}

const isExact = existsSync('/proc/self/schedstat');

/**
 * The same to the nanosecond where the kernel tells it, for measurements of a few hundredths of a second. What threads have
 * used that have ended since is not in it: those of the runtime stay.
 */
export function exactCpuMs(pid: number): number {
  if (!isExact) return cpuMs(pid);
  const ns = readdirSync(`/proc/${pid}/task`).map((thread) => {
    return Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
  });
  return ns.reduce((sum, time) => sum + time, 0) / 1e6;
}
