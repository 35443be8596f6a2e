import { bare, countedPrefixed, metered, PREFIX_NAME, prefixed } from './contenders.ts';
import { countDuring } from './counts.ts';
import { Client } from './measure.ts';
import { startChild } from './processes.ts';
import { type Bundle, newDisk, type Server, startServer } from './server.ts';
import { type Spread, spread } from './statistics.ts';
import { align, number, verdict } from './table.ts';
import { burst, long, PREFIX_BYTES, textOf } from './workloads.ts';

/** What a stored beginning costs beside one that the request carries itself. */
export interface PrefixCost {
  /** CPU per request; none where it cannot be read. */
  cpu: { bareMs: Spread; carryingMs: Spread; prefixedMs: Spread; added: Spread } | undefined;
  /** KV reads of the first request, and of each one after it. */
  coldReads: number;
  warmReads: number;
}

/** Of the bare Worker's CPU; reads of KV for the first request in an isolate, and for the others. */
const MOST_ADDED = 0.3;
const MOST_COLD_READS = 3;

/** The question is the same, and the answer. */
const asking = { ...burst, requests: long.requests };

export async function measurePrefix(
  bundles: { bare: Bundle; metered: Bundle; counted: Bundle },
  upstream: string,
  rounds: number,
): Promise<PrefixCost> {
  const load = startChild(new URL('load.ts', import.meta.url));
  const bareServer = await startServer(bare, bundles.bare, upstream);
  const server = await startServer(metered, bundles.metered, upstream);
  await store(server);
  const passing = new Client(load, bare, bareServer);
  const carrying = new Client(load, metered, server);
  const naming = new Client(load, prefixed, server);
  await passing.warmUp(long);
  await carrying.warmUp(long);
  await naming.warmUp(asking);
  const figures: { bare: number; carrying: number; prefixed: number }[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const own = await passing.measureCpu(long);
    const carried = await carrying.measureCpu(long);
    const named = await naming.measureCpu(asking);
    if (own && carried !== undefined && named !== undefined) {
      figures.push({ bare: own, carrying: carried, prefixed: named });
    }
  }
  await server.stop();
  await bareServer.stop();

  // Another isolate than the one that has stored it: what that remembers must not count.
  const disk = newDisk();
  const storing = await startServer(countedPrefixed, bundles.counted, upstream, { disk });
  await store(storing);
  await storing.stop();
  const counting = await startServer(countedPrefixed, bundles.counted, upstream, { disk });
  const counter = new Client(load, countedPrefixed, counting);
  const cold = await countDuring(counting, 1, () => counter.send(asking, 1));
  const warm = await countDuring(counting, asking.requests, () => counter.send(asking));
  await counting.stop();
  load.disconnect();
  const all = (pick: (figure: (typeof figures)[number]) => number) => spread(figures.map(pick));
  return {
    cpu:
      figures.length === 0
        ? undefined
        : {
            bareMs: all((figure) => figure.bare),
            carryingMs: all((figure) => figure.carrying),
            prefixedMs: all((figure) => figure.prefixed),
            added: all((figure) => (figure.prefixed - figure.carrying) / figure.bare),
          },
    coldReads: cold.kvReads,
    warmReads: warm.kvReads,
  };
}

/** Stores a prefix of 200 kB. */
async function store(server: Server): Promise<void> {
  const response = await fetch(`${server.origin}/prefixes/${PREFIX_NAME}`, {
    method: 'PUT',
    headers: { ...prefixed.headers(0, 0), 'content-type': 'application/json' },
    body: JSON.stringify({ system: textOf(PREFIX_BYTES), model: 'claude-haiku-5-5', cache_ttl: '5m' }),
  });
  if (!response.ok) throw new Error(`the prefix could not be stored: ${response.status} ${await response.text()}`);
}

export function isOver({ cpu, coldReads, warmReads }: PrefixCost): boolean {
  return (cpu !== undefined && cpu.added.median > MOST_ADDED) || coldReads > MOST_COLD_READS || warmReads > 0;
}

export function prefixTable({ cpu, coldReads, warmReads }: PrefixCost): string {
  const ms = (value: Spread | undefined) => (value ? number(value.median) : 'n/a');
  const added = cpu?.added;
  return align([
    ['200 kB before the question', 'bare', 'in the request', 'as a prefix', 'added, × bare', 'ceiling'],
    [
      '  CPU ms/request',
      ms(cpu?.bareMs),
      ms(cpu?.carryingMs),
      ms(cpu?.prefixedMs),
      added ? `${number(added.median)} (${number(added.min)}–${number(added.max)})` : '',
      added ? verdict(`${MOST_ADDED} ×`, added.median > MOST_ADDED) : '',
    ],
    ['  KV reads, first request', '', '', number(coldReads), '', verdict('3', coldReads > MOST_COLD_READS)],
    ['  KV reads, each after it', '', '', number(warmReads), '', verdict('0', warmReads > 0)],
  ]);
}
