/**
 * Runs tests: the short set (test/short.ts), as `npm test` does; with `--all` every test of the day, with `--rest` what the
 * short set leaves out. Other arguments go to Vitest: `npm test -- test/edge/money/budget`.
 *
 * Two processes of Vitest share the work: one runtime of workerd for all files that need it, since each more loads and
 * compiles all of the code once more, and beside it what runs in Node, starts processes, or looks at the page.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { setPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { countsOf, type Run, tableOf } from './runner/measures.ts';
import { cpuMsOfTree } from './runner/worker-processes.ts';

const VITEST = ['node_modules/vitest/vitest.mjs', 'run'];

const HALVES: Readonly<Record<string, readonly string[]>> = {
  workerd: ['--project=workerd', '--project=workerd-alone', '--maxWorkers=1'],
  // Servers and browsers are waited for.
  others: [
    '--project=e2e',
    '--project=edge',
    '--project=client',
    '--project=page',
    '--project=simulator',
    '--project=simulation',
    '--project=timing',
    '--maxWorkers=2',
  ],
};
/** The runtime of workerd works at one file at a time, so it goes before what can use more processors. */
const PRIORITY_OF_OTHERS = 5;

/** Runs Node with the terminal of this process. @returns its exit code */
async function run(args: readonly string[], env: Record<string, string> = {}, priority = 0): Promise<number> {
  const child = spawn(process.execPath, args, { stdio: 'inherit', env: { ...process.env, ...env } });
  if (child.pid !== undefined && priority !== 0) setPriority(child.pid, priority);
  return await new Promise((resolve) => child.on('close', (code) => resolve(code ?? 1)));
}

/** Runs a set of tests. @param set `short`, `rest` or `all` @returns whether all of it has passed */
async function runSet(set: string): Promise<boolean> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-day-'));
  const begun = performance.now();
  const ended = await Promise.all(
    Object.entries(HALVES).map(async ([name, args]) => {
      const report = join(folder, name);
      const code = await run(
        [...VITEST, ...args],
        { RUN_REPORT: report, TEST_SET: set },
        name === 'others' ? PRIORITY_OF_OTHERS : 0,
      );
      return { code, run: JSON.parse(readFileSync(report, 'utf8')) as Run };
    }),
  );
  rmSync(folder, { recursive: true, force: true });
  const runs = ended.map((half) => half.run);
  const whole = { wall: performance.now() - begun, cpu: cpuMsOfTree(process.pid) };
  process.stdout.write(`${tableOf(runs, whole)}\n`);
  for (const failed of runs.flatMap((half) => half.failed)) process.stdout.write(`FAILED ${failed}\n`);
  process.stdout.write(`${countsOf(runs)}\n`);
  return ended.every(({ code }) => code === 0);
}

const given = process.argv.slice(2);
const set = /^--(all|rest)$/.exec(given.join(' '))?.[1] ?? (given.length === 0 ? 'short' : undefined);
process.exitCode = set === undefined ? await run([...VITEST, ...given]) : (await runSet(set)) ? 0 : 1;
