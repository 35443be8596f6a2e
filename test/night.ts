/**
 * Runs what takes too long for every change: `npm run night`, or with the beginnings of the names of some parts.
 *
 * A part that has passed at this commit is not run again, so that a night that was stopped goes on: `npm run night -- --new`
 * begins anew, with other seeds.
 */
import { execFileSync, spawn } from 'node:child_process';
import { createWriteStream, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

/** Something that is run by night. */
interface Part {
  name: string;
  env: Record<string, string>;
  /** What Node runs. */
  args: readonly string[];
}

/** What a night has done so far. */
interface Night {
  commit: string;
  seed: number;
  /** The seconds that each part took which has passed. */
  passed: Record<string, number>;
}

// Npm runs scripts in the folder of the package.
const root = process.cwd();
const folder = join(root, 'node_modules/.cache/night');
const record = join(folder, 'night.json');
/** So many schedules a part: five minutes or less. Each night has others. */
const [SCHEDULES, SLICES] = [2_000, 5];

/** @returns the parts of a night, the shortest first */
function partsOf(seed: number): Part[] {
  const vitest = (...args: string[]) => ['node_modules/vitest/vitest.mjs', 'run', ...args];
  const slices = Array.from({ length: SLICES }, (_, nth) => ({
    name: `schedules-${nth + 1}`,
    env: { SCHEDULES: String(SCHEDULES), SCHEDULE_SEED: String(seed + nth) },
    args: vitest('test/simulation/'),
  }));
  return [
    {
      name: 'tickets',
      env: { BATCH_TICKETS: '10000' },
      args: vitest('test/edge/plugins/batches/classify-by-batch.test.ts'),
    },
    { name: 'race', env: { RACE_ACCOUNTS: '1000', RACE_CALLERS: '20' }, args: vitest('test/e2e/pools.night.test.ts') },
    {
      name: 'summaries',
      env: { SUMMARIES_CONVERSATIONS: '12', SUMMARIES_TURNS: '120', KILLS: '30', KILLS_SEED: String(seed) },
      args: vitest('test/e2e/summaries-killed.night.test.ts'),
    },
    {
      name: 'visitors',
      env: { VISITORS: '1000', VISITORS_GONE: '10000' },
      args: vitest('test/e2e/visitors.night.test.ts'),
    },
    { name: 'crowd', env: { CROWD_ACCOUNTS: '300' }, args: vitest('test/simulation/batch-crowd.test.ts') },
    {
      name: 'openapi',
      env: { FUZZ_MS: '600000', FUZZ_SEED: String(seed) },
      args: vitest('test/edge/app/openapi-fuzz.test.ts'),
    },
    { name: 'fuzz', env: { FUZZ_RUNS: '10000', FUZZ_SEED: String(seed) }, args: vitest('test/edge/app/fuzz.test.ts') },
    { name: 'planted', env: {}, args: ['test/planted/plant.ts'] },
    {
      name: 'kills',
      env: { KILLS: '200', KILLS_SEED: String(seed) },
      args: vitest('test/e2e/kills.test.ts'),
    },
    {
      name: 'answers',
      env: { ANSWER_KILLS: '200', ANSWER_SEED: String(seed) },
      args: vitest('test/e2e/answers-killed.timing.night.test.ts'),
    },
    {
      name: 'midnight',
      env: { CALENDAR: '2026-12-31T23:59:58Z' },
      args: vitest('--project', 'workerd', '--project', 'workerd-alone', '--project', 'edge'),
    },
    // All cases of properties, and the files in another order, so that the whole suite runs once.
    { name: 'all', env: { PROPERTY_RUNS: '100%', SHUFFLE: String(seed) }, args: vitest() },
    ...slices,
  ];
}

/** @returns the night that this one goes on with, or a new one */
function nightOf(commit: string, isNew: boolean): Night {
  const begun = existsSync(record) ? (JSON.parse(readFileSync(record, 'utf8')) as Night) : undefined;
  if (!isNew && begun?.commit === commit) return begun;
  return { commit, seed: Math.floor(Math.random() * 1e9), passed: {} };
}

/** Runs a part; what it says goes into its log. @returns whether it has passed */
async function run({ name, env, args }: Part, seed: number): Promise<boolean> {
  const log = createWriteStream(join(folder, `${name}.log`));
  const child = spawn(process.execPath, args, {
    cwd: root,
    env: { ...process.env, NIGHT: '1', NIGHT_SEED: String(seed), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child.stdout.pipe(log, { end: false });
  child.stderr.pipe(log, { end: false });
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  await new Promise<void>((resolve) => log.end(resolve));
  return code === 0;
}

const { values, positionals } = parseArgs({ options: { new: { type: 'boolean' } }, allowPositionals: true });
mkdirSync(folder, { recursive: true });
// In a container of CI the folder may be another user's, where git says nothing.
const commit =
  process.env.GITHUB_SHA ??
  execFileSync('git', ['describe', '--always', '--abbrev=40', '--dirty'], { cwd: root, encoding: 'utf8' }).trim();
// What is not committed may be another change than the last time.
const night = nightOf(commit, values.new === true || commit.endsWith('-dirty'));
const parts = partsOf(night.seed).filter(
  ({ name }) => positionals.length === 0 || positionals.some((beginning) => name.startsWith(beginning)),
);
if (parts.length === 0)
  throw new Error(
    `No part begins so. There are: ${partsOf(0)
      .map(({ name }) => name)
      .join(', ')}.`,
  );
console.log(`The seed of this night is ${night.seed}. What the parts say is in ${folder}.`);
const failed: string[] = [];
for (const part of parts) {
  const before = night.passed[part.name];
  if (before !== undefined) {
    console.log(`${part.name}: has passed, in ${before} s`);
    continue;
  }
  const begun = performance.now();
  const hasPassed = await run(part, night.seed);
  const seconds = Math.round((performance.now() - begun) / 1_000);
  console.log(`${part.name}: ${hasPassed ? 'passed' : 'FAILED'}, in ${seconds} s`);
  if (hasPassed) night.passed[part.name] = seconds;
  else failed.push(part.name);
  writeFileSync(record, JSON.stringify(night, null, 2));
}
process.exitCode = failed.length === 0 ? 0 : 1;
