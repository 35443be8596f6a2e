/**
 * Shows that the tests find mistakes: `npm run planted`, or with the beginnings of the names of some.
 *
 * Each is put into a copy of the checkout, where the file of tests that should find it is run. It must pass without it.
 */
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Run } from '#test/runner/measures.ts';
import { MISTAKES, type Mistake, withMistake } from './mistakes.ts';

// Npm runs scripts in the folder of the package.
const root = process.cwd();
/** Longer than any file of the day takes: what a mistake makes endless is ended. */
const MOST_MS = 600_000;
/** What would make another set than the day's of it. That something fails is enough: no schedule is made shorter. */
const BY_DAY = {
  NIGHT: undefined,
  NIGHT_SEED: undefined,
  PROPERTY_RUNS: undefined,
  CALENDAR: undefined,
  SCHEDULES: undefined,
  SCHEDULE_SEED: undefined,
  SCHEDULE_SHRINKS: 'false',
};

/** @returns the tests of some files that fail in a copy, by file and title */
async function failedIn(copy: string, files: readonly string[], ...more: string[]): Promise<string[]> {
  const report = join(copy, 'run-report.json');
  rmSync(report, { force: true });
  const args = ['node_modules/vitest/vitest.mjs', 'run', ...files, '--maxWorkers=1', ...more];
  const child = spawn(process.execPath, args, {
    cwd: copy,
    env: { ...process.env, ...BY_DAY, RUN_REPORT: report },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: MOST_MS,
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (piece: Buffer) => {
      said += piece;
    });
  await new Promise((resolve) => child.on('close', resolve));
  if (!existsSync(report)) throw new Error(`${files.join(', ')} did not run:\n${said}`);
  const { failed, passed } = JSON.parse(readFileSync(report, 'utf8')) as Run;
  const tests = failed.filter((test) => files.some((file) => test.startsWith(`${file}: `)));
  // A file that cannot be read would find every mistake.
  if (tests.length === 0 && (failed.length > 0 || passed === 0)) throw new Error(`${failed.join('\n')}\n${said}`);
  return tests;
}

/** Plants mistakes, one at a time. @returns the names of those that no test has found */
async function plantAll(copy: string, mistakes: readonly Mistake[]): Promise<string[]> {
  const broken = await failedIn(copy, [...new Set(mistakes.map(({ foundBy }) => foundBy))]);
  if (broken.length > 0) throw new Error(`These fail without any mistake:\n${broken.join('\n')}`);
  const missed: string[] = [];
  for (const mistake of mistakes) {
    const path = join(copy, mistake.file);
    const right = readFileSync(path, 'utf8');
    writeFileSync(path, withMistake(mistake, right));
    const [first] = await failedIn(copy, [mistake.foundBy], '--bail=1');
    writeFileSync(path, right);
    process.stdout.write(
      `${first === undefined ? 'MISSED' : 'found'}: ${mistake.name}${first === undefined ? '' : ` — ${first}`}\n`,
    );
    if (first === undefined) missed.push(mistake.name);
  }
  return missed;
}

const beginnings = process.argv.slice(2);
const chosen = MISTAKES.filter(
  ({ name }) => beginnings.length === 0 || beginnings.some((beginning) => name.startsWith(beginning)),
);
if (chosen.length === 0) throw new Error('No mistake begins so: test/planted/mistakes.ts has their names.');
const copy = mkdtempSync(join(tmpdir(), 'sluice-planted-'));
process.on('exit', () => rmSync(copy, { recursive: true, force: true }));
process.on('SIGINT', () => process.exit(1));
const listed = execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' }).split('\0');
for (const file of listed) if (file !== '' && existsSync(join(root, file))) cpSync(join(root, file), join(copy, file));
symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
const missed = await plantAll(copy, chosen);
process.stdout.write(`${chosen.length - missed.length} of ${chosen.length} found\n`);
process.exitCode = missed.length === 0 ? 0 : 1;
