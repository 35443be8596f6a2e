import { writeFile } from 'node:fs/promises';
import { availableParallelism, cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { build as buildAssets } from '../scripts/build.ts';
import { accountTable, measureAccounts } from './accounts.ts';
import { ageTable, isOver as isAgeOver, measureAges } from './ages.ts';
import { batchTable, isOver as isBatchOver, measureBatches } from './batches.ts';
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
import { classificationTable, measureClassification } from './classification.ts';
import { bare, bound, type Contender, contenders, counted, least, metered, waking } from './contenders.ts';
import { growthTable, measureGrowth } from './growth.ts';
import { historyCostTables } from './history-cost.ts';
import { isOver as isLeaseOver, leaseTable, measureLeases } from './leases.ts';
import { isOver as isMemoryOver, measureMemory, memoryTable } from './memory.ts';
import { measurePeers, peerTable } from './peers.ts';
import { isOver as isPrefixOver, measurePrefix, prefixTable } from './prefix.ts';
import { nextMessage, startChild } from './processes.ts';
import { measureRounds, measureSlowness, type Plan } from './rounds.ts';
import { isOver as isRunOver, measureRuns, runTable } from './runs.ts';
import { type Bundle, buildWorker, startServer } from './server.ts';
import { isOver as isStartOver, measureStarts, startTable } from './starts.ts';
import { comparisonTable } from './table.ts';
import { isOver as isUpstreamOver, measureUpstreams, upstreamTable } from './upstreams.ts';
import { measureWakes } from './wakes.ts';
import { wakeTable } from './wakes-table.ts';
import { measureWebhooks, webhookTable } from './webhooks.ts';
import { burst, long, workloads } from './workloads.ts';

const usage = `npm run bench -- [options]
  --rounds N       how often everything is measured (7)
  --only A,B       these contenders alone: ${contenders.map(({ name }) => name).join(', ')}
  --workload A,B   these workloads alone: ${workloads.map(({ name }) => name).join(', ')}
  --wakes          turns of conversations that are awake, new, or were evicted, alone
  --webhooks       webhooks alone
  --accounts       many accounts that ask now and then, and one that never rests, alone
  --counts         what each kind of work is billed for until an hour later, and what a million of it cost, alone
  --cost           the same, written into docs/cost.md
  --turns A,B      with --counts or --cost: what so many turns cost, as in 20s=1000000,5s=2000000
  --streams N, --steps N, --events N
                   the same for metered streams of 20 s, steps of runs, and webhooks
  --history        what 500 turns of a conversation cost at Claude, by how its history is kept: computed, alone
  --leases         what a shared budget costs, alone
  --memory         what an isolate holds, alone; --workload takes the lines that have its text in them
  --batches        batches and files alone
  --runs           runs alone: what their steps cost
  --upstreams      kinds of upstream alone; --workload burst or long takes one of their two
  --peers          Portkey's gateway beside Sluice, alone; it is installed for it. --workload takes some of them
  --growth         what a request costs where much has come before it, alone
  --starts         the first answer of a fresh isolate, alone
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
      wakes: { type: 'boolean', default: false },
      webhooks: { type: 'boolean', default: false },
      events: { type: 'string' },
      memory: { type: 'boolean', default: false },
      batches: { type: 'boolean', default: false },
      accounts: { type: 'boolean', default: false },
      counts: { type: 'boolean', default: false },
      cost: { type: 'boolean', default: false },
      turns: { type: 'string' },
      streams: { type: 'string' },
      steps: { type: 'string' },
      history: { type: 'boolean', default: false },
      leases: { type: 'boolean', default: false },
      upstreams: { type: 'boolean', default: false },
      runs: { type: 'boolean', default: false },
      peers: { type: 'boolean', default: false },
      growth: { type: 'boolean', default: false },
      starts: { type: 'boolean', default: false },
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
  const slownessHere = async () => {
    const bundle = await build(bare.worker);
    return await measureSlowness(() => startServer(bare, bundle, origin), progress);
  };
  if (values.wakes) {
    const bundles = {
      bare: await build(bare.worker),
      waking: await build(waking.woken.worker),
      least: await build(least.fresh.worker),
      turn: await build(metered.worker),
    };
    const wakes = await measureWakes(bundles, origin, rounds);
    console.log(wakeTable(wakes));
    return;
  }
  if (values.beside !== undefined) {
    const measure = values.copies ? measureCopiesBeside : measureBeside;
    console.log(besideTable(await measure(values.beside, origin, rounds, progress)));
    return;
  }
  if (values.webhooks) {
    console.log(webhookTable(await measureWebhooks(rounds, origin, build)));
    return;
  }
  if (values.accounts) {
    const bundles = { deployed: await build(metered.worker), counted: await build(counted.worker) };
    console.log(accountTable(await measureAccounts(bundles, origin)));
    return;
  }
  if (values.leases) {
    const bundles = {
      bare: await build(bare.worker),
      deployed: await build(metered.worker),
      counted: await build(counted.worker),
    };
    const leases = await measureLeases(bundles, origin, rounds);
    console.log(leaseTable(leases));
    if (values.check && isLeaseOver(leases)) process.exitCode = 1;
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
  if (values.batches) {
    const batches = await measureBatches(await build(metered.worker), origin, rounds);
    console.log(batchTable(batches));
    if (values.check && isBatchOver(batches)) process.exitCode = 1;
    return;
  }
  if (values.runs) {
    const bundles = { deployed: await build(metered.worker), counted: await build(counted.worker) };
    const runs = await measureRuns(bundles, rounds);
    const slowness = await slownessHere();
    console.log(runTable(runs, slowness));
    if (values.check && isRunOver(runs, slowness)) process.exitCode = 1;
    return;
  }
  if (values.growth) {
    const bundles = { bare: await build(bare.worker), turn: await build(metered.worker) };
    const growths = await measureGrowth(bundles, origin, rounds, progress);
    console.log(growthTable(growths));
    return;
  }
  if (values.upstreams) {
    const bundles = [await build(metered.worker), await build(counted.worker)] as const;
    const costs = await measureUpstreams(...bundles, origin, rounds, chosen([burst, long], values.workload));
    console.log(upstreamTable(costs));
    if (values.check && costs.some(isUpstreamOver)) process.exitCode = 1;
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
  if (values.peers) {
    const entrants = plan.entrants.filter(({ contender }) => contender.workloads === undefined);
    console.log(peerTable(await measurePeers({ ...plan, entrants }, origin), plan.workloads));
    return;
  }
  const starting = [...workers, { contender: bound, bundle: await build(bound.worker) }];
  if (values.starts) {
    const starts = await measureStarts(starting, origin, rounds, burst, progress);
    const slowness = await slownessHere();
    console.log(startTable(starts, slowness));
    if (values.check && starts.some((start) => isStartOver(start, slowness))) process.exitCode = 1;
    return;
  }

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
  const counting = await build(counted.worker);
  const counts = await countKinds(counting, origin, progress);
  tell(billedTable(counts));
  const bundles = { bare: await build(bare.worker), metered: await build(metered.worker), counted: counting };
  progress('the cost of a turn after many others');
  const ages = await measureAges({ ...bundles, turn: bundles.metered }, origin);
  tell(ageTable(ages));
  progress('objects that are new or wake');
  const wakes = await measureWakes(
    {
      ...bundles,
      waking: await build(waking.woken.worker),
      least: await build(least.fresh.worker),
      turn: bundles.metered,
    },
    origin,
    rounds,
  );
  tell(wakeTable(wakes));
  progress('growth');
  const growths = await measureGrowth({ bare: bundles.bare, turn: bundles.metered }, origin, rounds, progress);
  tell(growthTable(growths));
  progress('the cost of a prefix');
  const prefix = await measurePrefix(bundles, origin, rounds);
  tell(prefixTable(prefix));
  progress('classification');
  const classification = await measureClassification({ ...bundles, deployed: bundles.metered }, origin, rounds);
  tell(classificationTable(classification));
  progress('webhooks');
  const webhooks = await measureWebhooks(rounds, origin, build);
  tell(webhookTable(webhooks));
  progress('shared budgets');
  const leases = await measureLeases({ ...bundles, deployed: bundles.metered }, origin, rounds);
  tell(leaseTable(leases));
  progress('memory');
  const memory = await measureMemory(bundles.metered, origin);
  tell(memoryTable(memory));
  progress('batches');
  const batches = await measureBatches(bundles.metered, origin, rounds);
  tell(batchTable(batches));
  progress('runs');
  const runs = await measureRuns({ deployed: bundles.metered, counted: counting }, rounds);
  tell(runTable(runs, slowness));
  const starts = await measureStarts(starting, origin, rounds, burst, progress);
  tell(startTable(starts, slowness));

  if (values.json !== undefined) {
    await writeFile(
      values.json,
      `${JSON.stringify({ machine, rounds, slowness, comparisons, counts, ages, wakes, growths, prefix, classification, webhooks, leases, memory, batches, runs, starts }, null, 2)}\n`,
    );
  }
  const over =
    comparisons.some(({ ceiling }) => ceiling?.over) ||
    counts.some(isBilledOver) ||
    isAgeOver(ages) ||
    isPrefixOver(prefix) ||
    isLeaseOver(leases) ||
    memory.some(isMemoryOver) ||
    isBatchOver(batches) ||
    isRunOver(runs, slowness) ||
    starts.some((start) => isStartOver(start, slowness));
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
