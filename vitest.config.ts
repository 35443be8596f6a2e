import { subscribe } from 'node:diagnostics_channel';
import { globSync } from 'node:fs';
import type { ClientRequest } from 'node:http';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { cloudflareTest } from '@cloudflare/vitest-plugin';
import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/runner/longest-first.ts';
import { MeasuringReporter } from './test/runner/measuring-reporter.ts';
import { putTemporaryFilesInMemory } from './test/runner/memory-folder.ts';
import { quietKilledRuntimes } from './test/runner/quiet-runtime.ts';
import { testsOfRuntime } from './test/runner/runtime.ts';
import { writesSdkCalls } from './test/runner/sdk-calls.ts';
import { notesProcesses } from './test/runner/worker-processes.ts';
import { SHORT } from './test/short.ts';

// Vitest stays at 4: to mock a module, Vitest 5 calls `AsyncLocalStorage.disable`, which workerd does not support.

// Tests of the whole, with servers, browsers and builds. Of the others those run in workerd that import something of
// `cloudflare:`, by whatever file; the rest runs in Node.
const ofTheWhole = ['test/e2e/**/*.test.ts', 'test/scripts/**/*.test.ts', 'test/*.test.ts'];
// What takes too long for every change. Who names such a file gets it by day, too.
const isNight = process.env.NIGHT !== undefined || process.argv.some((word) => word.includes('.night.'));
const leftForNight = isNight ? [] : ['test/**/*.night.test.ts'];
// `npm test` has the short set, and CI the rest behind it (test/day.ts).
const ofSet: Readonly<Record<string, readonly string[]>> = {
  short: globSync('test/**/*.test.ts', { cwd: import.meta.dirname }).filter((file) => !SHORT.includes(file)),
  rest: SHORT,
};
const leftOut = [...leftForNight, ...(ofSet[process.env.TEST_SET ?? ''] ?? [])];
// What measures time: alone, behind all others, by the CPU of what it measures.
const timing = ['test/**/*.timing.test.ts', 'test/**/*.timing.night.test.ts'];
// Objects in a simulated world: in Node, with a stand-in for what the runtime gives them.
const simulated = ['test/simulation/**/*.test.ts'];
const inWorkerd = await testsOfRuntime(import.meta.dirname, [...ofTheWhole, ...simulated, ...timing, ...leftOut]);
// What a Worker's own code decides holds for its whole isolate, as long as that lives: each of these has its own.
const withOwnIsolate = ['test/edge/toolkit/**/*.test.ts'];

/** how many hostile requests are tried, and from which seed on: a failure is repeated by its seed. By night 10,000. */
const {
  FUZZ_RUNS = '1000',
  FUZZ_MS = '0',
  FUZZ_SEED = '1',
  PROPERTY_RUNS = '20%',
  // More than a page of them, which has 500.
  BATCH_TICKETS = '520',
  METRICS_REQUESTS = '300',
  CALENDAR = '',
  NIGHT_SEED = '0',
} = process.env;
/** Vitest takes the names out of what it is given, so each project has its own. */
const define = () => ({
  FUZZ_RUNS: String(Number(FUZZ_RUNS)),
  FUZZ_MS: String(Number(FUZZ_MS)),
  BATCH_TICKETS: String(Number(BATCH_TICKETS)),
  FUZZ_SEED: String(Number(FUZZ_SEED)),
  METRICS_REQUESTS: String(Number(METRICS_REQUESTS)),
});

if (!/^\d+%$/.test(PROPERTY_RUNS)) throw new Error('PROPERTY_RUNS is a share in percent: 100% for every case.');
// The houses that stand by themselves. Their tests run alone: `npm test -- --project client`.
const HOUSES = ['client', 'page', 'simulator'];
const testsOf = (house: string) => [`test/${house}/**/*.test.ts`];

const common = {
  provide: {
    propertyRuns: Number.parseInt(PROPERTY_RUNS, 10) / 100,
    calendar: CALENDAR,
    nightSeed: Number(NIGHT_SEED),
  },
  // Properties, and what is waited for, take as long as the machine needs; what hangs ends all the same.
  testTimeout: 600_000,
  hookTimeout: 600_000,
  expect: { poll: { timeout: 240_000, interval: 5 } },
};

// What a process has compiled the next one finds: of many that are started each would compile the same again.
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(new URL('node_modules/.cache/compiled', import.meta.url));

// The compiler and esbuild are written in Go, and end soon: they need not tidy up before. A third of what they compute.
process.env.GOGC ??= 'off';
process.env.GOMEMLIMIT ??= '1GiB';

// Databases of objects are waited for on a disk, longer than the tests of them compute.
putTemporaryFilesInMemory();

// What a runtime of tests imports comes to it over a WebSocket, which would compress it for a way that is no way: 9 % of
// what the tests in workerd compute. Vitest's plugin has no option for it.
subscribe('http.client.request.created', (message) => {
  (message as { request: ClientRequest }).request.removeHeader('sec-websocket-extensions');
});

quietKilledRuntimes();

// Wrangler says where it reads secrets whenever a runtime starts. What tests start in processes says all that it does.
const log = process.env.WRANGLER_LOG ?? 'log';
process.env.WRANGLER_LOG ??= 'error';

const inIsolate = [
  './test/runner/simulator.ts',
  './test/runner/seeds.ts',
  './test/runner/calendar.ts',
  './test/runner/known-modules.ts',
];
const workerd = () => ({
  plugins: [
    cloudflareTest({ wrangler: { configPath: './wrangler.toml' }, verbose: false }),
    notesProcesses(),
    writesSdkCalls(),
  ],
  define: define(),
  // A dependency's source map without its sources is no news.
  logLevel: 'error' as const,
});

const inNode = (name: string, include: string[], exclude: string[]) => ({
  plugins: [notesProcesses()],
  define: define(),
  test: {
    ...common,
    name,
    include,
    exclude: [...exclude, ...timing, ...inWorkerd, ...leftOut],
    // They share nothing that one could leave behind for another, and a process each would take longer.
    isolate: false,
    setupFiles: [
      ...(name === 'edge' ? ['./src/edge/with-all-plugins.ts', './test/runner/simulator.ts'] : []),
      './test/runner/seeds.ts',
      './test/runner/calendar.ts',
    ],
  },
});

export default defineConfig({
  test: {
    // At most so many runtimes of workerd: each more loads and compiles all of the code once more. `npm test` has one.
    maxWorkers: Math.min(2, availableParallelism()),
    sequence: { sequencer: LongestFirst },
    // What a test prints is of interest where it fails.
    silent: 'passed-only',
    reporters: ['default', new MeasuringReporter()],
    // In which order they run says test/runner/longest-first.ts.
    projects: [
      {
        plugins: [notesProcesses()],
        test: {
          ...common,
          name: 'e2e',
          include: ofTheWhole,
          exclude: [...timing, ...leftOut],
          // Each ends what it has started. To load wrangler and the browser's driver takes a second or two.
          isolate: false,
          globalSetup: './test/runner/build.ts',
          setupFiles: ['./test/runner/seeds.ts', './test/runner/connections.ts'],
          env: { WRANGLER_LOG: log },
        },
      },
      ...HOUSES.map((house) => inNode(house, testsOf(house), [])),
      inNode('edge', ['test/**/*.test.ts'], [...ofTheWhole, ...simulated, ...HOUSES.flatMap(testsOf)]),
      {
        plugins: [notesProcesses()],
        resolve: {
          alias: { 'cloudflare:workers': fileURLToPath(new URL('./test/simulation/workers.ts', import.meta.url)) },
        },
        define: define(),
        test: {
          ...common,
          name: 'simulation',
          include: simulated,
          exclude: leftOut,
          // A world gives the machine its clock back, and each file has worlds of its own. What a file of another kind has left
          // under way would come into them.
          isolate: false,
          setupFiles: ['./src/edge/with-all-plugins.ts', './test/runner/simulator.ts', './test/runner/seeds.ts'],
        },
      },
      {
        ...workerd(),
        test: {
          ...common,
          name: 'workerd',
          // What a test has mocked ends before the next one. Its objects are emptied before (clean-isolate.ts).
          restoreMocks: true,
          include: inWorkerd,
          exclude: withOwnIsolate,
          // Most of a file's time would go into a runtime of its own, and into loading the same modules again.
          isolate: false,
          setupFiles: [...inIsolate, './test/runner/clean-isolate.ts'],
        },
      },
      {
        ...workerd(),
        test: {
          ...common,
          name: 'workerd-alone',
          include: withOwnIsolate,
          exclude: leftOut,
          setupFiles: inIsolate,
        },
      },
      {
        plugins: [notesProcesses()],
        test: {
          ...common,
          name: 'timing',
          include: timing,
          exclude: leftOut,
          // What is timed by day are functions.
          globalSetup: isNight ? './test/runner/build.ts' : [],
          setupFiles: ['./src/edge/with-all-plugins.ts', './test/runner/seeds.ts', './test/runner/connections.ts'],
          isolate: false,
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
