import { readdirSync, readFileSync } from 'node:fs';
import { ForksPoolWorker, type PoolRunnerInitializer, type PoolWorker, type TestProject, type Vite } from 'vitest/node';

/** Linux counts the time of processes in hundredths of a second, whatever the machine. */
const MS_PER_TICK = 10;

/** A process as Linux tells of it. */
interface Process {
  parent: number;
  name: string;
  /** What it has used so far, and its children that have ended, in milliseconds of CPU. */
  cpuMs: number;
}

/** @returns all processes by their ids; none where the system does not tell, as only Linux does */
function processes(): Map<number, Process> {
  const found = new Map<number, Process>();
  for (const entry of namesIn('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    const stat = textOf(`/proc/${pid}/stat`);
    // A name may have blanks and parentheses: what follows begins behind the last one.
    const nameEnd = stat.lastIndexOf(')');
    const [, parent, ...rest] = stat.slice(nameEnd + 2).split(' ');
    const ticks = rest.slice(9, 13).reduce((sum, each) => sum + Number(each), 0);
    if (nameEnd > 0)
      found.set(pid, {
        parent: Number(parent),
        name: stat.slice(stat.indexOf('(') + 1, nameEnd),
        cpuMs: ticks * MS_PER_TICK,
      });
  }
  return found;
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** @returns what a file has; nothing if its process has just ended */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** @returns what a process and all that it has started have used so far, in milliseconds of CPU */
export function cpuMsOfTree(pid: number, all = processes()): number {
  const children = [...all].filter(([, { parent }]) => parent === pid);
  return children.reduce((sum, [child]) => sum + cpuMsOfTree(child, all), all.get(pid)?.cpuMs ?? 0);
}

const childrenOf = (pid: number): number[] =>
  [...processes()].filter(([, { parent, name }]) => parent === pid && name !== 'esbuild').map(([child]) => child);

const pids = new Map<string, number>();
const keyOf = ({ name }: TestProject, file: string) => `${name}:${file}`;

/** @returns the process that runs a file of tests; undefined before it is given one */
export const processOf = (project: TestProject, file: string): number | undefined => pids.get(keyOf(project, file));

/** Notes which process each file of a project is given to. Vitest tells nobody, and its plugin for workerd neither. */
export function notesProcesses(): Vite.Plugin {
  return {
    name: 'notes-processes',
    configureVitest({ project: { config } }) {
      const { poolRunner = forks } = config;
      config.poolRunner = {
        name: poolRunner.name,
        createPoolWorker: (options) => noted(poolRunner.createPoolWorker(options), options.project),
      };
      config.pool = poolRunner.name;
    },
  };
}

/** Under its own name Vitest would make its own, and under two it would use none of them for a second file. */
class NotedForks extends ForksPoolWorker {
  override name = 'noted-forks';
}
const forks: PoolRunnerInitializer = {
  name: 'noted-forks',
  createPoolWorker: (options) => new NotedForks(options),
};

/** One begins after the other, so that what is new then is the one that has begun. */
let beginning: Promise<void> = Promise.resolve();

function noted(worker: PoolWorker, project: TestProject): PoolWorker {
  const [start, send] = [worker.start.bind(worker), worker.send.bind(worker)];
  let pid: number | undefined;
  worker.start = async () => {
    const begun = beginning.then(async () => {
      const before = new Set(childrenOf(process.pid));
      await start();
      pid = childrenOf(process.pid).find((child) => !before.has(child));
    });
    beginning = begun.catch(() => {});
    await begun;
  };
  worker.send = (message) => {
    if (message.type === 'run' && pid !== undefined) {
      for (const { filepath } of message.context.files) pids.set(keyOf(project, filepath), pid);
    }
    send(message);
  };
  return worker;
}
