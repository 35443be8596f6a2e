import { type Contender, metered } from './contenders.ts';
import { type Counts, countBilled } from './counts.ts';
import { Client } from './measure.ts';
import { startChild } from './processes.ts';
import { type Bundle, type Server, startServer } from './server.ts';
import { type Spread, spread } from './statistics.ts';
import { align, number, verdict } from './table.ts';
import { burst, type Workload } from './workloads.ts';

/** What a request costs at one kind of upstream, beside the same at another. */
export interface UpstreamCost {
  workload: string;
  upstream: string;
  /** CPU per request. */
  cpuMs: Spread;
  /** The kind that it is compared with, itself for the first one. */
  beside: string;
  /** Of that kind's CPU: median of median. Single rounds differ by a quarter, and so would their ratios. */
  ratio: number;
  most: number | undefined;
  /** Object calls and rows written, for each request. */
  counts: Counts;
}

interface Kind {
  name: string;
  entry: object | undefined;
  key: string;
  /** What it is compared with, and how many times that one's CPU it may take. */
  beside: string;
  most: number | undefined;
  isTwice?: boolean;
}

// Two processes of the very same Worker differ by up to 5 %, for as long as they live. So each kind has several,
// and a round's figure is their mean.
const PROCESSES = 3;

/** Each is a deployment with one upstream. */
const kinds = (origin: string): Kind[] => [
  // The Claude API alone, without the setting.
  { name: 'none', entry: undefined, key: '', beside: 'none', most: undefined },
  { name: 'anthropic', entry: { kind: 'anthropic', base_url: origin }, key: 'bench', beside: 'none', most: 1.05 },
  // A second one that is well beside the first.
  {
    name: 'anthropic, two',
    entry: { kind: 'anthropic', base_url: origin },
    key: 'bench',
    beside: 'anthropic',
    most: undefined,
    isTwice: true,
  },
  {
    name: 'bedrock',
    entry: { kind: 'bedrock', region: 'us-east-1', base_url: origin },
    key: 'bench',
    beside: 'anthropic',
    most: 1.2,
  },
  {
    name: 'bedrock, signed',
    entry: { kind: 'bedrock', region: 'us-east-1', base_url: origin },
    key: `AKIABENCHBENCH000000:${'s'.repeat(40)}`,
    beside: 'anthropic',
    most: undefined,
  },
];

interface Measured extends Kind {
  contender: Contender;
  processes: { server: Server; client: Client }[];
}

export async function measureUpstreams(
  bundle: Bundle,
  counting: Bundle,
  origin: string,
  rounds: number,
  workloads: readonly Workload[],
): Promise<UpstreamCost[]> {
  const load = startChild(new URL('load.ts', import.meta.url));
  const measured: Measured[] = [];
  for (const kind of kinds(origin)) {
    const { entry, key, isTwice } = kind;
    const list = (isTwice ? ['one', 'two'] : ['one']).map((one) => ({ name: one, ...entry }));
    const own = entry && { UPSTREAMS: JSON.stringify(list), UPSTREAM_ONE_KEY: key, UPSTREAM_TWO_KEY: key };
    const contender = { ...metered, vars: { ...metered.vars, ...own } };
    const processes: Measured['processes'] = [];
    for (let started = 0; started < PROCESSES; started += 1) {
      const server = await startServer(contender, bundle, origin);
      processes.push({ server, client: new Client(load, metered, server) });
    }
    measured.push({ ...kind, contender, processes });
  }
  const costs: UpstreamCost[] = [];
  for (const workload of workloads)
    costs.push(
      ...(await measureWorkload(workload, measured, rounds, (contender) =>
        countBilled(contender, workload, counting, origin),
      )),
    );
  for (const { server } of measured.flatMap(({ processes }) => processes)) await server.stop();
  load.disconnect();
  return costs;
}

async function measureWorkload(
  workload: Workload,
  measured: readonly Measured[],
  rounds: number,
  count: (contender: Contender) => Promise<Counts>,
): Promise<UpstreamCost[]> {
  const clients = measured.flatMap(({ name, processes }) => processes.map(({ client }) => ({ name, client })));
  for (const { client } of clients) await client.warmUp(workload);
  const figures = new Map<string, number[]>(measured.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    const means = new Map<string, number>();
    // Who comes second finds another machine than who comes first, so each round begins with another one.
    for (let turn = 0; turn < clients.length; turn += 1) {
      const next = clients[(round + turn) % clients.length];
      if (!next) continue;
      const cpu = await next.client.measureCpu(workload);
      if (cpu !== undefined) means.set(next.name, (means.get(next.name) ?? 0) + cpu / PROCESSES);
    }
    for (const [name, mean] of means) figures.get(name)?.push(mean);
  }
  const counts: Counts[] = [];
  for (const { contender } of measured) {
    counts.push(await count(contender));
  }
  return measured.flatMap(({ name, beside, most }, index) => {
    const own = figures.get(name) ?? [];
    const billed = counts[index];
    if (own.length === 0 || !billed) return [];
    const cpuMs = spread(own);
    return {
      workload: workload.title,
      upstream: name,
      cpuMs,
      beside,
      ratio: cpuMs.median / spread(figures.get(beside) ?? []).median,
      most,
      counts: billed,
    };
  });
}

export function isOver({ ratio, most, workload }: UpstreamCost): boolean {
  return most !== undefined && workload === burst.title && ratio > most;
}

export function upstreamTable(costs: UpstreamCost[]): string {
  return align([
    ['one upstream', 'kind', 'CPU ms/request', '×', 'of', 'ceiling', 'object calls', 'rows'],
    ...costs.map((cost) => [
      `  ${cost.workload}`,
      cost.upstream,
      `${number(cost.cpuMs.median)} (${number(cost.cpuMs.min)}–${number(cost.cpuMs.max)})`,
      number(cost.ratio),
      cost.beside,
      cost.most !== undefined && cost.workload === burst.title ? verdict(`${cost.most} ×`, isOver(cost)) : '',
      number(cost.counts.objectCalls),
      number(cost.counts.rowsWritten),
    ]),
  ]);
}
