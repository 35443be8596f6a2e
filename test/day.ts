/**
 * Runs the day's tests: `npm test`. With arguments it hands them to Vitest: `npm test -- test/edge/money/budget`.
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
import { beginProcess, slowness } from './runner/yardstick.ts';

/**
 * What the day's tests may take, in seconds of CPU on a machine as fast as that of `yardstick.ts`: a third more than the 590 that
 * they took there, and 80 for a Worker without each room (`test/rooms.test.ts`) and for two releases at once. It is meant to shrink to 520.
 */
const MOST_CPU_S = 880;
const LOOK_EVERY_MS = 15_000;
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

/** Runs the whole day. @returns whether all of it has passed, within its ceiling where `CI` is set */
async function runDay(): Promise<boolean> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-day-'));
  const begun = performance.now();
  const looks: Promise<number>[] = [];
  const timer = setInterval(() => looks.push(beginProcess()), LOOK_EVERY_MS);
  const ended = await Promise.all(
    Object.entries(HALVES).map(async ([name, args]) => {
      const report = join(folder, name);
      const code = await run([...VITEST, ...args], { RUN_REPORT: report }, name === 'others' ? PRIORITY_OF_OTHERS : 0);
      return { code, run: JSON.parse(readFileSync(report, 'utf8')) as Run };
    }),
  ).finally(() => clearInterval(timer));
  rmSync(folder, { recursive: true, force: true });
  const runs = ended.map((half) => half.run);
  const cpu = cpuMsOfTree(process.pid);
  const slow = slowness(await Promise.all(looks));
  const ceiling = MOST_CPU_S * slow;
  process.stdout.write(`${tableOf(runs, { wall: performance.now() - begun, cpu })}\n`);
  for (const failed of runs.flatMap((half) => half.failed)) process.stdout.write(`FAILED ${failed}\n`);
  const isWithin = cpu / 1_000 <= ceiling;
  process.stdout.write(`${countsOf(runs)}\n`);
  process.stdout.write(
    `${(cpu / 1_000).toFixed(0)} s of CPU, of at most ${ceiling.toFixed(0)} on this machine (${MOST_CPU_S} × ${slow.toFixed(2)})\n`,
  );
  return ended.every(({ code }) => code === 0) && (isWithin || process.env.CI === undefined);
}

const given = process.argv.slice(2);
process.exitCode = given.length > 0 ? await run([...VITEST, ...given]) : (await runDay()) ? 0 : 1;
