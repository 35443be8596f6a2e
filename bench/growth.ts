/** What a request costs where much has come before it, or much stands open: the same as at the beginning, or nearly. */
import { setTimeout as sleep } from 'node:timers/promises';
import { bare, type Contender, GROWN_CONVERSATIONS, grownTurn, longTurn, metered } from './contenders.ts';
import { addConversations, addLedgerRows } from './grow-account.ts';
import { Client } from './measure.ts';
import { nextMessage, startChild } from './processes.ts';
import { type Bundle, newDisk, startServer } from './server.ts';
import { type Spread, spread } from './statistics.ts';
import { align, goalVerdict, number } from './table.ts';
import type { Uploaded, UploadOrder } from './uploads.ts';
import { bringingAll, grown, grownHistories, grownLong } from './workloads.ts';

/** As a multiple of the smallest size's, in the same round. */
const GOAL = 1.2;
const AFTERWORK_MS = 1_000;
const WARMING_ROUNDS = 3;
/** More than a fold of the ledger: so what is added lies where old rows lie. */
const FIRST_REQUESTS = 2_500;

/** What one thing costs at one size. */
export interface Growth {
  title: string;
  /** As it is printed. */
  size: string;
  /** CPU of a request in milliseconds; undefined where it cannot be read. */
  cpuMs: Spread | undefined;
  /** The same of the bare Worker with the same bytes, where they grow. */
  bareMs: Spread | undefined;
  /** As multiples of what the smallest size costs, with what the further bytes cost the bare Worker. */
  times: Spread | undefined;
}

/** Milliseconds of CPU per request; undefined where it cannot be read. */
interface Cost {
  own: number | undefined;
  /** Of the bare Worker with the same bytes, where they grow with the size. */
  bare?: number | undefined;
}

/** One size of one thing, ready to be measured. */
interface Entry {
  size: string;
  measure: () => Promise<Cost>;
  stop: () => Promise<void>;
}

interface Bench {
  bundles: { bare: Bundle; turn: Bundle };
  upstream: string;
  load: ReturnType<typeof startChild>;
}

/** What grows, and how entries of its sizes are made. All sizes of one are measured in turns. */
const THINGS: { title: string; prepare: (bench: Bench) => Promise<Entry[]> }[] = [
  {
    title: 'metered request, by rows of the ledger',
    prepare: async (bench) =>
      await inTurn([1, 10_000, 1_000_000], (rows) =>
        grownEntry(bench, metered, rows, (disk) => addLedgerRows(disk, rows - 1)),
      ),
  },
  {
    title: 'turn, by conversations of the account',
    prepare: async (bench) =>
      await inTurn([10, 1_000, 10_000], (rows) =>
        grownEntry(bench, grownTurn, rows, (disk) => addConversations(disk, rows)),
      ),
  },
  {
    title: 'metered request, by streams that are open',
    prepare: async (bench) => await inTurn([1, 500], (streams) => openEntry(bench, streams)),
  },
  {
    title: 'turn, by turns before it',
    prepare: async (bench) => await inTurn(grownHistories, (turns) => longEntry(bench, turns)),
  },
];

/** Measures each thing at each of its sizes, in turns within a round. */
export async function measureGrowth(
  bundles: Bench['bundles'],
  upstream: string,
  rounds: number,
  progress: (text: string) => void,
): Promise<Growth[]> {
  const load = startChild(new URL('load.ts', import.meta.url));
  const growths: Growth[] = [];
  for (const { title, prepare } of THINGS) {
    progress(title);
    const entries = (await prepare({ bundles, upstream, load })).map((entry) => ({
      ...entry,
      costs: [] as Cost[],
    }));
    // The first rounds warm everybody up: after these the runtime's compiler has seen what is hot.
    for (let round = 1 - WARMING_ROUNDS; round <= rounds; round += 1) {
      for (const { size, measure, costs } of round % 2 === 0 ? entries : entries.toReversed()) {
        progress(`round ${round} of ${rounds}: ${title}: ${size}`);
        const measured = await measure();
        if (round > 0) costs.push(measured);
      }
    }
    for (const { stop } of entries) await stop();
    const [smallest] = entries;
    for (const { size, costs } of entries) {
      growths.push({
        ...{ title, size },
        cpuMs: spreadOf(costs.map(({ own }) => own)),
        bareMs: spreadOf(costs.map(({ bare }) => bare)),
        times: spreadOf(costs.map((cost, round) => timesOf(cost, smallest?.costs[round]))),
      });
    }
  }
  load.disconnect();
  return growths;
}

/**
 * @returns how many times as much something costs as it does at the smallest size, where what the bare Worker needs more for
 * more bytes is none of its growth
 */
function timesOf({ own, bare = 0 }: Cost, least: Cost | undefined): number | undefined {
  if (own === undefined || !least?.own) return undefined;
  return own / (least.own + bare - (least.bare ?? 0));
}

/** Two must not be started at once. */
async function inTurn<T>(sizes: readonly number[], make: (size: number) => Promise<T>): Promise<T[]> {
  const made: T[] = [];
  for (const size of sizes) made.push(await make(size));
  return made;
}

/** An account that has had requests, then more rows than these, and wakes. */
async function grownEntry(
  { bundles, upstream, load }: Bench,
  contender: Contender,
  size: number,
  grow: (disk: string) => void,
): Promise<Entry> {
  const disk = newDisk();
  const before = await startServer(contender, bundles.turn, upstream, { disk });
  await new Client(load, contender, before).send(grown, FIRST_REQUESTS);
  await sleep(AFTERWORK_MS);
  await before.stop();
  grow(disk);
  const server = await startServer(contender, bundles.turn, upstream, { disk });
  const client = new Client(load, contender, server);
  return {
    size: sizeText(size),
    measure: async () => ({ own: await client.measureCpu(grown) }),
    stop: () => server.stop(),
  };
}

/** Streams that stay open beside the requests, and of which nothing comes meanwhile. */
async function openEntry({ bundles, upstream, load }: Bench, streams: number): Promise<Entry> {
  const server = await startServer(metered, bundles.turn, upstream);
  const uploads = startChild(new URL('uploads.ts', import.meta.url));
  const client = new Client(load, metered, server);
  await client.warmUp(grown);
  const order: UploadOrder = {
    origin: server.origin,
    path: metered.path,
    method: 'POST',
    headers: { ...metered.headers(0, 0), 'x-bench': 'quiet' },
    body: { kind: 'message', bytes: grown.promptBytes },
    requests: streams,
    holds: true,
  };
  uploads.send(order);
  const told = await nextMessage<{ result: Uploaded } | { error: string }>(uploads);
  if ('error' in told || told.result.last.some((status) => status !== 200)) {
    throw new Error(`${streams} streams could not be opened: ${JSON.stringify(told).slice(0, 300)}`);
  }
  await sleep(AFTERWORK_MS);
  return {
    size: sizeText(streams),
    measure: async () => ({ own: await client.measureCpu(grown) }),
    stop: async () => {
      uploads.disconnect();
      await server.stop();
    },
  };
}

/** Conversations that have had so many turns; all that came before goes up again with each, as it does at the bare Worker. */
async function longEntry({ bundles, upstream, load }: Bench, turns: number): Promise<Entry> {
  const contender = longTurn(turns);
  const bareServer = await startServer(bare, bundles.bare, upstream);
  const server = await startServer(contender, bundles.turn, upstream);
  const bareClient = new Client(load, bare, bareServer);
  const client = new Client(load, contender, server);
  const history = bringingAll(turns);
  await client.send(history, GROWN_CONVERSATIONS);
  return {
    size: sizeText(turns),
    measure: async () => {
      const bareMs = await bareClient.measureCpu(history);
      return { own: await client.measureCpu(grownLong), bare: bareMs };
    },
    stop: async () => {
      await server.stop();
      await bareServer.stop();
    },
  };
}

function sizeText(size: number): string {
  return size.toLocaleString('en-US');
}

function spreadOf(values: (number | undefined)[]): Spread | undefined {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : spread(known);
}

export function growthTable(growths: Growth[]): string {
  const text = (value: Spread | undefined) =>
    value === undefined ? 'n/a' : `${number(value.median)} (${number(value.min)}–${number(value.max)})`;
  const titles = [...new Set(growths.map(({ title }) => title))];
  return align(
    titles.flatMap((title, nth) => [
      ...(nth > 0 ? [[]] : []),
      [title, 'CPU ms/request', 'bare, same bytes', '× the first', 'goal'],
      ...growths
        .filter((growth) => growth.title === title)
        .map((growth, at) => [
          `  ${growth.size}`,
          text(growth.cpuMs),
          growth.bareMs === undefined ? '' : text(growth.bareMs),
          at === 0 ? '' : text(growth.times),
          at === 0 ? '' : goalVerdict(`${GOAL} ×`, (growth.times?.median ?? 0) > GOAL),
        ]),
    ]),
  );
}
