import { writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import type { Reporter, TestCase, TestModule, Vitest } from 'vitest/node';
import { countsOf, LONG_MS, type Run, type Times, tableOf } from './measures.ts';
import { keepSeconds } from './times.ts';
import { cpuMsOfTree, processOf } from './worker-processes.ts';

/**
 * Says at the end of a run what each project and the dearest files took, and then `N passed, N failed`, for programs. Where
 * `RUN_REPORT` names a file, it is written there in place of that, for who runs several processes of Vitest.
 */
export class MeasuringReporter implements Reporter {
  readonly #began = new Map<string, Times>();
  readonly #files: Run['files'] = [];
  /** Of files that passed with all of their tests by day. */
  readonly #seconds: Record<string, number> = {};
  #isWhole = true;
  #root = '';
  #start = performance.now();

  onInit(vitest: Vitest): void {
    this.#root = vitest.config.root;
    this.#isWhole = vitest.config.testNamePattern === undefined && process.env.NIGHT === undefined;
    this.#start = performance.now();
  }

  onTestModuleQueued(module: TestModule): void {
    this.#began.set(module.id, now(module));
  }

  onTestModuleEnd(module: TestModule): void {
    const [began, ended] = [this.#began.get(module.id), now(module)];
    if (!began) return;
    const long = [...module.children.allTests()].filter((test) => (test.diagnostic()?.duration ?? 0) > LONG_MS);
    const file = relative(this.#root, module.moduleId);
    const cpu = ended.cpu - began.cpu;
    // What else the machine does changes no CPU. But servers and browsers, which e2e waits for, have theirs elsewhere.
    const ms = module.project.name === 'e2e' || cpu === 0 ? module.diagnostic().duration : cpu;
    if (this.#isWhole && module.state() === 'passed') this.#seconds[file] = Math.ceil(ms / 1_000);
    this.#files.push({
      file,
      project: module.project.name,
      long: long.map(({ fullName }) => fullName),
      wall: ended.wall - began.wall,
      cpu,
    });
  }

  /** @param errors what failed outside of any test */
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const { user, system } = process.cpuUsage();
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const having = (state: string) => tests.filter((test) => test.result().state === state);
    // A file that cannot be read has no tests that could fail.
    const broken = modules.filter((module) => module.state() === 'failed' && module.errors().length > 0);
    const nameOf = (test: TestCase) => `${relative(this.#root, test.module.moduleId)}: ${test.fullName}`;
    const run: Run = {
      files: this.#files,
      passed: having('passed').length,
      failed: [
        ...having('failed').map((test) => `${nameOf(test)}${reasonOf(test)}`),
        ...broken.map(({ moduleId }) => relative(this.#root, moduleId)),
        ...errors.map(() => 'outside of any test'),
      ],
      skipped: having('skipped').length,
      itself: { wall: 0, cpu: (user + system) / 1_000 },
    };
    keepSeconds(this.#root, this.#seconds);
    const { RUN_REPORT } = process.env;
    if (RUN_REPORT !== undefined) {
      writeFileSync(RUN_REPORT, JSON.stringify(run));
      return;
    }
    const whole: Times = { wall: performance.now() - this.#start, cpu: cpuMsOfTree(process.pid) };
    process.stdout.write(`${tableOf([run], whole)}\n${countsOf([run])}\n`);
  }
}

/** How much of an error stands beside a failed test; characters. */
const REASON_LENGTH = 300;

/** Tells why a test failed: where only the end of the output is kept, nothing else does. */
function reasonOf(test: TestCase): string {
  const [error] = test.result().errors ?? [];
  return error ? `\n  ${error.message.replace(/\s+/g, ' ').slice(0, REASON_LENGTH)}` : '';
}

const now = ({ project, moduleId }: TestModule): Times => {
  const pid = processOf(project, moduleId);
  return { wall: performance.now(), cpu: pid === undefined ? 0 : cpuMsOfTree(pid) };
};
