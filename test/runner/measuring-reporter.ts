import { relative } from 'node:path';
import type { Reporter, TestModule, TestProject, Vitest } from 'vitest/node';
import { cpuMsOfTree, processOf } from './worker-processes.ts';

/** So many of the dearest files are named, unless `TIMES=all` asks for each. */
const NAMED = 15;

/** What something took, in milliseconds; CPU with what it has started. */
interface Times {
  wall: number;
  cpu: number;
}

/** Says at the end of a run what each project and the dearest files took: wall time, CPU, and what was only waited for. */
export class MeasuringReporter implements Reporter {
  readonly #began = new Map<string, Times>();
  readonly #took = new Map<TestProject, Map<string, Times>>();
  #root = '';
  #start = performance.now();

  onInit(vitest: Vitest): void {
    this.#root = vitest.config.root;
    this.#start = performance.now();
  }

  onTestModuleQueued(module: TestModule): void {
    this.#began.set(module.id, now(module));
  }

  onTestModuleEnd(module: TestModule): void {
    const [began, ended] = [this.#began.get(module.id), now(module)];
    if (!began) return;
    const files = this.#took.get(module.project) ?? new Map<string, Times>();
    this.#took.set(module.project, files);
    files.set(relative(this.#root, module.moduleId), { wall: ended.wall - began.wall, cpu: ended.cpu - began.cpu });
  }

  onTestRunEnd(): void {
    const files = [...this.#took.values()].flatMap((took) => [...took]);
    const whole: Times = { wall: performance.now() - this.#start, cpu: cpuMsOfTree(process.pid) };
    const { user, system } = process.cpuUsage();
    const itself = (user + system) / 1_000;
    // Where the system does not tell of processes there is nothing to share.
    const shared = Math.max(0, whole.cpu - itself - sumOf(files.map(([, times]) => times)).cpu);
    const named = process.env.TIMES === 'all' ? files.length : NAMED;
    const lines = [
      '\n   wall    CPU  waiting, in seconds',
      ...[...this.#took].map(([{ name }, took]) => line(`${name}: ${took.size} files`, sumOf([...took.values()]))),
      line('Vitest itself', { wall: 0, cpu: itself }),
      line('what files share: the browser, an edge, processes that begin and end', { wall: 0, cpu: shared }),
      line('the run', whole),
      '',
      ...files
        .sort(([, one], [, other]) => weightOf(other) - weightOf(one))
        .slice(0, named)
        .map(([file, times]) => line(file, times)),
    ];
    process.stdout.write(`${lines.join('\n')}\n\n`);
  }
}

const now = ({ project, moduleId }: TestModule): Times => {
  const pid = processOf(project, moduleId);
  return { wall: performance.now(), cpu: pid === undefined ? 0 : cpuMsOfTree(pid) };
};

/** Whichever of the two is longer costs a run: a processor, or a place among those that run at once. */
const weightOf = ({ wall, cpu }: Times) => Math.max(wall, cpu);

const sumOf = (all: readonly Times[]): Times => ({
  wall: all.reduce((sum, { wall }) => sum + wall, 0),
  cpu: all.reduce((sum, { cpu }) => sum + cpu, 0),
});

const line = (what: string, { wall, cpu }: Times) =>
  `${[wall, cpu, Math.max(0, wall - cpu)].map((ms) => (ms / 1_000).toFixed(1).padStart(7)).join('')}  ${what}`;
