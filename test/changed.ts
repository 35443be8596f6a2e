/**
 * Tests what was changed: `npm run test:changed`, or with the commit or branch to compare with; `main` by default.
 *
 * It chooses the tests of what has changed, one file of each way through the edge, and the other tests of folders that have
 * changed, in this order, while they fit into a minute. `-- --all` runs all of these. What it leaves out it names: `npm test`
 * runs everything. Npm runs it in the folder of the package.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname } from 'node:path';
import { readArguments } from '../scripts/arguments.ts';
import { chooseFitting, readSeconds, secondsOf } from './runner/times.ts';

const MOST_SECONDS = 60;
const LONGEST_NAMED = 3;

/** A file of each way: the quickest that goes all of it. */
const WAYS: Record<string, string> = {
  relay: 'test/edge/messages/edge-blocks.test.ts',
  turn: 'test/edge/conversations/object/conversation.test.ts',
  run: 'test/edge/plugins/runs/run-limits.test.ts',
  batch: 'test/edge/plugins/batches/ownership.test.ts',
  page: 'test/e2e/page/wire.test.ts',
};

/** Tests that stand elsewhere than in the folder of what they test. */
const ELSEWHERE: readonly { of: string; tests: readonly string[] }[] = [
  {
    of: 'src/edge/money/ledger/',
    tests: ['test/edge/money/account/totals.test.ts', 'test/edge/money/account/wake.test.ts'],
  },
  {
    of: 'src/edge/conversations/history/storage/copyable-rows.ts',
    tests: ['test/edge/conversations/object/copies.test.ts'],
  },
  {
    of: 'src/edge/plugins/transfer/',
    tests: ['test/edge/conversations/object/copies.test.ts', 'test/edge/app/backup.test.ts'],
  },
  { of: 'src/edge/plugins/runs/subagents/', tests: ['test/edge/plugins/runs/subagents.test.ts'] },
  { of: 'src/edge/plugins/pools/leases/', tests: ['test/simulation/pool.test.ts'] },
  // Those without a browser take two seconds.
  { of: 'src/page/', tests: ['test/page/'] },
  { of: 'scripts/', tests: ['test/scripts/'] },
];

/** By the folders of the page, the test of it in a browser that goes through most of the folder: each takes half a minute. */
const PAGES: Readonly<Record<string, string>> = {
  'src/page/': 'chat',
  'src/page/agents/': 'agents',
  'src/page/budget/': 'operator',
  'src/page/chat/message/': 'agents',
  'src/page/classify/': 'parts',
};

/** The quick files of a folder, in place of all: the others compute as much again for few mistakes that these miss. */
const QUICK: Readonly<Record<string, readonly string[]>> = {
  'test/edge/money/account/': ['account', 'find-request', 'totals', 'usage.route', 'wake'],
  'test/edge/plugins/runs/': [
    'call-tool',
    'limits',
    'run',
    'run-cost',
    'run-limits',
    'run-races',
    'subagents',
    'tool-addresses',
    'tool-usage',
  ],
};

/** Every file of tests by day, but for what measures time: that runs alone. */
const all = globSync('test/**/*.test.ts').filter((file) => !/\.(timing|night)\.test\.ts$/.test(file));

const git = (...args: string[]) => execFileSync('git', args, { encoding: 'utf8' }).split('\n').filter(Boolean);

// What was moved or renamed would be left out in silence.
const named = [
  ...Object.values(WAYS),
  ...ELSEWHERE.flatMap(({ tests }) => tests),
  ...Object.values(PAGES).map((name) => `test/e2e/page/${name}.test.ts`),
  ...Object.entries(QUICK).flatMap(([folder, names]) => names.map((name) => `${folder}${name}.test.ts`)),
];
const missing = named.filter(
  (name) => !all.some((file) => file === name || (name.endsWith('/') && file.startsWith(name))),
);
if (missing.length > 0) throw new Error(`test/changed.ts names what is not there: ${missing.join(', ')}`);

/** @returns the deepest folder with tests that mirrors where a file of the source is: none of a house as a whole */
function mirrorOf(file: string): string | undefined {
  for (let folder = dirname(file); folder.startsWith('src/'); folder = dirname(folder)) {
    const mirror = folder.replace(/^src/, 'test');
    if (all.some((test) => dirname(test) === mirror)) return `${mirror}/`;
  }
  return undefined;
}

/** @returns what to run for a file that has changed: a file of tests, or folders of them */
function testsOf(file: string): string[] {
  if (file.endsWith('.test.ts')) return all.includes(file) ? [file] : [];
  const mirror = mirrorOf(file);
  const elsewhere = ELSEWHERE.flatMap(({ of, tests }) => (file.startsWith(of) ? tests : []));
  const [page] = Object.keys(PAGES)
    .filter((folder) => file.startsWith(folder))
    .sort((one, other) => other.length - one.length);
  if (page !== undefined) elsewhere.push(`test/e2e/page/${PAGES[page]}.test.ts`);
  const own = mirror === undefined ? [] : (QUICK[mirror]?.map((name) => `${mirror}${name}.test.ts`) ?? [mirror]);
  return [...own, ...elsewhere];
}

/** @returns whether a file of tests was changed, or has the name of a file that was: `budget.test.ts` of `budget.ts` */
function isOwn(test: string): boolean {
  const stem = test.replace(/^test\//, 'src/').replace(/\.test\.ts$/, '');
  return changed.some((file) => file === test || file.replace(/\.tsx?$/, '') === stem);
}

const { values, positionals } = readArguments('npm run test:changed -- [--all] [commit or branch]', {
  allowPositionals: true,
  options: { all: { type: 'boolean', default: false } },
});
const [base = 'main'] = positionals;
const [from = 'HEAD'] = git('merge-base', base, 'HEAD');
const changed = [
  ...new Set([...git('diff', '--name-only', from), ...git('ls-files', '--others', '--exclude-standard')]),
];
const chosen = changed.flatMap(testsOf);
const known = readSeconds('.');
const took = (file: string) => secondsOf(file, known);
const quickest = all.toSorted((one, other) => took(one) - took(other));
const wanted = new Set([
  ...quickest.filter(isOwn),
  ...Object.values(WAYS),
  ...quickest.filter((file) => chosen.some((one) => (one.endsWith('/') ? file.startsWith(one) : file === one))),
]);
const fitting = chooseFitting([...wanted], known, values.all ? Number.POSITIVE_INFINITY : MOST_SECONDS);
const tests = fitting.chosen.toSorted((one, other) => took(other) - took(one));
const told = (files: readonly string[]) => files.map((file) => `${file} (${took(file)} s)`).join(', ');
const leftOut = Map.groupBy(
  all.filter((file) => !wanted.has(file)),
  (file) => dirname(file),
);
console.log(`Changed since ${base}: ${changed.join(', ') || 'nothing'}.`);
console.log(`Runs ${tests.length} of ${all.length} files, about ${fitting.seconds} s: ${tests.join(', ')}.`);
console.log(`Those that take longest: ${told(tests.slice(0, LONGEST_NAMED))}.`);
const { status } = spawnSync(
  process.execPath,
  // With more workers than processors each would load all of the code once more, which takes longer than these few files.
  ['node_modules/vitest/vitest.mjs', 'run', ...tests, '--project', '!timing', `--maxWorkers=${availableParallelism()}`],
  { stdio: 'inherit' },
);
const names = [...leftOut].map(([folder, files]) => `${folder} (${files.length})`).sort();
console.log(`Left out, with what measures time: ${names.join(', ')}. \`npm test\` runs all.`);
if (fitting.left.length > 0) {
  console.log(
    `Left out after ${MOST_SECONDS} s: ${told(fitting.left)}. \`npm run test:changed -- --all\` runs them, too.`,
  );
}
process.exitCode = status ?? 1;
