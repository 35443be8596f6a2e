import { writeFile } from 'node:fs/promises';
import { availableParallelism, cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { build as buildAssets } from '../../scripts/build.ts';
import { besideTable, measureBeside, measureCopiesBeside } from './beside.ts';
import {
  type Billed,
  billedTable,
  countKinds,
  isOver as isBilledOver,
  type Mix,
  mixTable,
  turnsIn,
  writeCosts,
} from './billed.ts';
import { bare, type Contender, contenders, counted, metered } from './contenders.ts';
import { historyCostTables } from './history-cost.ts';
import { isOver as isMemoryOver, measureMemory, memoryTable } from './memory.ts';
import { nextMessage, startChild } from './processes.ts';
import { measureRounds, type Plan } from './rounds.ts';
import { type Bundle, buildWorker, startServer } from './server.ts';
import { comparisonTable } from './table.ts';
import { workloads } from './workloads.ts';

const usage = `npm run bench -- [options]
  --rounds N       how often everything is measured (7)
  --only A,B       these contenders alone: ${contenders.map(({ name }) => name).join(', ')}
  --workload A,B   these workloads alone: ${workloads.map(({ name }) => name).join(', ')}
  --counts         what each kind of work is billed for until an hour later, and what a million of it cost, alone
  --cost           the same, written into docs/cost.md
  --turns A,B      with --counts or --cost: what so many turns cost, as in 20s=1000000,5s=2000000
  --streams N, --steps N, --events N
                   the same for metered streams of 20 s, steps of runs, and webhooks
  --history        what 500 turns of a conversation cost at Claude, by how its history is kept: computed, alone
  --memory         what an isolate holds, alone; --workload takes the lines that have its text in them
  --beside FOLDER  the Worker of another checkout beside this one, in turns, alone
  --copies         with --beside: forks and exports of long conversations, in CPU and by the clock
  --gateway        the upstream is a gateway, in whose streams errors are masked; with any of the others
  --json FILE      also write what is printed as JSON
  --check          exit with 1 if a ceiling is exceeded`;

/** Those of `all` that a comma-separated flag names, or all of them. */
function chosen<T extends { name: string }>(all: T[], names: string | undefined): T[] {
  if (names === undefined) return all;
  return names.split(',').map((name) => {
    const found = all.find((candidate) => candidate.name === name);
    if (found === undefined) throw new Error(`${name} is none of ${all.map((each) => each.name).join(', ')}`);
    return found;
  });
}

/** One line that is overwritten by the next, for a person who waits. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '7' },
      only: { type: 'string' },
      workload: { type: 'string' },
      events: { type: 'string' },
      memory: { type: 'boolean', default: false },
      counts: { type: 'boolean', default: false },
      cost: { type: 'boolean', default: false },
      turns: { type: 'string' },
      streams: { type: 'string' },
      steps: { type: 'string' },
      history: { type: 'boolean', default: false },
      beside: { type: 'string' },
      copies: { type: 'boolean', default: false },
      gateway: { type: 'boolean', default: false },
      json: { type: 'string' },
      check: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return;
  }
  if (values.history) {
    console.log(historyCostTables());
    return;
  }
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds takes a whole number from 1 on');

  progress('building');
  await buildAssets();
  const built = new Map<string, Promise<Bundle>>();
  const build = (worker: Contender['worker']): Promise<Bundle> => {
    const name = JSON.stringify(worker);
    const bundle = built.get(name) ?? buildWorker(worker, values.gateway);
    built.set(name, bundle);
    return bundle;
  };
  const upstream = startChild(new URL('upstream.ts', import.meta.url));
  const { port } = await nextMessage<{ port: number }>(upstream);
  const origin = `http://127.0.0.1:${port}`;
  if (values.beside !== undefined) {
    const measure = values.copies ? measureCopiesBeside : measureBeside;
    console.log(besideTable(await measure(values.beside, origin, rounds, progress)));
    return;
  }
  if (values.counts || values.cost) {
    const counts: Billed[] = await countKinds(await build(counted.worker), origin, progress);
    console.log(billedTable(counts));
    const mix: Mix = {
      ...(values.turns === undefined ? {} : { turns: turnsIn(values.turns) }),
      ...(values.streams === undefined ? {} : { streams: Number(values.streams) }),
      ...(values.steps === undefined ? {} : { steps: Number(values.steps) }),
      ...(values.events === undefined ? {} : { events: Number(values.events) }),
    };
    if (Object.keys(mix).length > 0) console.log(`\n${mixTable(mix, counts)}`);
    if (values.cost) await writeCosts(counts);
    if (values.check && counts.some(isBilledOver)) process.exitCode = 1;
    return;
  }
  if (values.memory) {
    const memory = await measureMemory(await build(metered.worker), origin, values.workload);
    console.log(memoryTable(memory));
    if (values.check && memory.some(isMemoryOver)) process.exitCode = 1;
    return;
  }
  const workers = await Promise.all(
    [bare, ...chosen(contenders, values.only)].map(async (contender) => ({
      contender,
      bundle: await build(contender.worker),
    })),
  );
  const plan: Plan = {
    rounds,
    workloads: chosen(workloads, values.workload),
    entrants: workers.map(({ contender, bundle }) => ({
      contender,
      start: () => startServer(contender, bundle, origin),
    })),
    progress,
  };

  const machine = `${availableParallelism()} × ${cpus()[0]?.model ?? 'unknown processor'}`;
  console.log(`${machine}; node ${process.version}; median of ${rounds} rounds (lowest–highest)`);
  console.log('CPU is that of the whole runtime process; ratios are taken within each round');
  if (process.platform !== 'linux') console.log('CPU per request: n/a, it can be read on Linux only');
  // Each table is printed once it is there: a run that is ended before its end has told something.
  const tell = (table: string) => {
    progress('');
    console.log(`\n${table}`);
  };
  const { comparisons, slowness } = await measureRounds(plan);
  tell(
    comparisonTable(
      plan.workloads.flatMap(({ name, title }) =>
        plan.entrants.map(({ contender }) => ({
          title,
          contender: contender.name,
          comparisons: comparisons.filter((each) => each.workload === name && each.contender === contender.name),
        })),
      ),
    ),
  );
  const counts = await countKinds(await build(counted.worker), origin, progress);
  tell(billedTable(counts));
  progress('memory');
  const memory = await measureMemory(await build(metered.worker), origin);
  tell(memoryTable(memory));

  if (values.json !== undefined) {
    const found = { machine, rounds, slowness, comparisons, counts, memory };
    await writeFile(values.json, `${JSON.stringify(found, null, 2)}\n`);
  }
  const over =
    comparisons.some(({ ceiling }) => ceiling?.over) || counts.some(isBilledOver) || memory.some(isMemoryOver);
  if (values.check && over) process.exitCode = 1;
}

try {
  await main();
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
// Miniflare and the children keep the process alive otherwise.
process.exit();
