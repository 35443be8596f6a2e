import { type Contender, metered } from './contenders.ts';
import { type Counts, countBilled } from './counts.ts';
import { Client } from './measure.ts';
import { startChild } from './processes.ts';
import { type Bundle, type Server, startServer } from './server.ts';
import { type Spread, spread } from './statistics.ts';
import { align, number, verdict } from './table.ts';
import { burst, long, type Workload } from './workloads.ts';

/** What a request costs at one kind of upstream, beside the same at another. */
export interface UpstreamCost {
  workload: string;
  upstream: string;
  /** CPU per request. */
  cpuMs: Spread;
  /** Of the first kind's CPU, within each round. */
  ratio: Spread;
  most: number | undefined;
  /** Object calls and rows written, for each request. */
  counts: Counts;
}

interface Kind {
  name: string;
  entry: object | undefined;
  key: string;
  most: number | undefined;
  isTwice?: boolean;
}

/** Each is a deployment with one upstream, and what its CPU may be beside that of the first. */
const kinds = (origin: string): Kind[] => [
  { name: 'anthropic', entry: { kind: 'anthropic', base_url: origin }, key: 'bench', most: undefined },
  // The Claude API alone, without the setting.
  { name: 'none', entry: undefined, key: '', most: undefined },
  // A second one that is well beside the first.
  {
    name: 'anthropic, two',
    entry: { kind: 'anthropic', base_url: origin },
    key: 'bench',
    most: undefined,
    isTwice: true,
  },
  { name: 'bedrock', entry: { kind: 'bedrock', region: 'us-east-1', base_url: origin }, key: 'bench', most: 1.2 },
  {
    name: 'bedrock, signed',
    entry: { kind: 'bedrock', region: 'us-east-1', base_url: origin },
    key: `AKIABENCHBENCH000000:${'s'.repeat(40)}`,
    most: undefined,
  },
];

interface Measured {
  name: string;
  most: number | undefined;
  server: Server;
  client: Client;
  contender: Contender;
}

export async function measureUpstreams(
  bundle: Bundle,
  counting: Bundle,
  origin: string,
  rounds: number,
): Promise<UpstreamCost[]> {
  const load = startChild(new URL('load.ts', import.meta.url));
  const measured: Measured[] = [];
  for (const { name, entry, key, most, isTwice } of kinds(origin)) {
    const list = (isTwice ? ['one', 'two'] : ['one']).map((one) => ({ name: one, ...entry }));
    const own = entry && { UPSTREAMS: JSON.stringify(list), UPSTREAM_ONE_KEY: key, UPSTREAM_TWO_KEY: key };
    const contender = { ...metered, vars: { ...metered.vars, ...own } };
    const server = await startServer(contender, bundle, origin);
    measured.push({ name, most, server, contender, client: new Client(load, metered, server) });
  }
  const costs: UpstreamCost[] = [];
  for (const workload of [burst, long])
    costs.push(
      ...(await measureWorkload(workload, measured, rounds, (contender) =>
        countBilled(contender, workload, counting, origin),
      )),
    );
  for (const { server } of measured) await server.stop();
  load.disconnect();
  return costs;
}

async function measureWorkload(
  workload: Workload,
  measured: readonly Measured[],
  rounds: number,
  count: (contender: Contender) => Promise<Counts>,
): Promise<UpstreamCost[]> {
  for (const { client } of measured) await client.warmUp(workload);
  const figures: number[][] = measured.map(() => []);
  for (let round = 0; round < rounds; round += 1) {
    // Who comes second finds another machine than who comes first, so they take turns at it.
    const order = [...measured.entries()];
    for (const [index, { client }] of round % 2 === 0 ? order : order.toReversed()) {
      const cpu = await client.measureCpu(workload);
      if (cpu !== undefined) figures[index]?.push(cpu);
    }
  }
  const counts: Counts[] = [];
  for (const { contender } of measured) {
    counts.push(await count(contender));
  }
  return measured.flatMap(({ name, most }, index) => {
    const own = figures[index] ?? [];
    const billed = counts[index];
    if (own.length === 0 || !billed) return [];
    const ratios = own.map((cpu, round) => cpu / (figures[0]?.[round] ?? Number.NaN));
    return {
      workload: workload.title,
      upstream: name,
      cpuMs: spread(own),
      ratio: spread(ratios),
      most,
      counts: billed,
    };
  });
}

export function isOver({ ratio, most, workload }: UpstreamCost): boolean {
  return most !== undefined && workload === burst.title && ratio.median > most;
}

export function upstreamTable(costs: UpstreamCost[]): string {
  return align([
    ['one upstream', 'kind', 'CPU ms/request', '× anthropic', 'ceiling', 'object calls', 'rows'],
    ...costs.map((cost) => [
      `  ${cost.workload}`,
      cost.upstream,
      `${number(cost.cpuMs.median)} (${number(cost.cpuMs.min)}–${number(cost.cpuMs.max)})`,
      `${number(cost.ratio.median)} (${number(cost.ratio.min)}–${number(cost.ratio.max)})`,
      cost.most !== undefined && cost.workload === burst.title ? verdict(`${cost.most} ×`, isOver(cost)) : '',
      number(cost.counts.objectCalls),
      number(cost.counts.rowsWritten),
    ]),
  ]);
}
