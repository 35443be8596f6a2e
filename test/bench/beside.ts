import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { mintToken } from '../../src/edge/gate/auth/mint.ts';
import { backupOf } from '../support/long-backup.ts';
import { type Contender, contenders, metered, newTurn, SIGNING_SECRET, WAKES, wokenTurn } from './contenders.ts';
import { Client } from './measure.ts';
import { startChild } from './processes.ts';
import * as here from './server.ts';
import { quantile, type Spread, spread } from './statistics.ts';
import { align, number } from './table.ts';
import { asking, bringing, burst, WOKEN_AFTER, type Workload } from './workloads.ts';

/** The runtime evicts an object that nobody has called for ten seconds. */
const EVICTED_MS = 12_000;
/** In a round each part of a workload is measured by turns. */
const PARTS = 5;

/** What is measured in both checkouts. */
interface Way {
  title: string;
  contender: Contender;
  workload: Workload;
  parts: number;
  /** Has a round's objects made, which are evicted before the measurement. */
  seed?: (client: Client) => Promise<unknown>;
}

/** Milliseconds of the same in both checkouts. */
interface Pair {
  there: number;
  here: number;
}

/** One way in both checkouts: CPU per request in ms, and the differences within each part of a round. */
export interface Pairing {
  title: string;
  there: Spread;
  here: Spread;
  /** Milliseconds. */
  added: Spread;
  ratio: Spread;
  /** In so many pairs this checkout took less. */
  less: number;
  pairs: number;
}

function waysOf(): Way[] {
  const inParts = { ...burst, requests: Math.ceil(burst.requests / PARTS) };
  const named = (name: string): Way => {
    const contender = contenders.find((each) => each.name === name);
    if (contender === undefined) throw new Error(`no contender ${name}`);
    return { title: name, contender, workload: inParts, parts: PARTS };
  };
  const all = { ...asking, requests: WAKES };
  return [
    {
      title: `turn after ${WOKEN_AFTER}, woken`,
      contender: wokenTurn,
      workload: all,
      parts: 1,
      seed: (client) => client.send(bringing, WAKES),
    },
    { title: 'first turn of a conversation', contender: newTurn, workload: all, parts: 1 },
    named('relay'),
    named('metered'),
    named('turn'),
  ];
}

/** @returns where a checkout has this folder: before it moved into `test/`, it stood at the top */
function benchIn(folder: string): string {
  const [now, before] = ['test/bench', 'bench'].map((name) => resolve(folder, name));
  return existsSync(String(now)) ? String(now) : String(before);
}

/** What is done with a whole conversation of 10,000 messages, each of a few words. */
const COPIES = [
  { title: 'fork of 10,000 messages', path: 'fork', init: { method: 'POST', body: '{}' } },
  { title: 'export of 10,000 messages', path: 'export', init: {} },
];
const COPIED = '/conversations/copied';
const COPIED_TURNS = 5_000;
/** What goes on behind an answer belongs to it. */
const AFTERWORK_MS = 300;

/**
 * Measures what it takes to copy long conversations, in CPU and by the clock, beside another checkout and in turns.
 *
 * @param folder of the other checkout, in which `npm install` has been run
 */
export async function measureCopiesBeside(
  folder: string,
  upstream: string,
  rounds: number,
  progress: (text: string) => void,
): Promise<Pairing[]> {
  const servers: here.Server[] = [];
  const { account, headers } = await adminOfBench();
  for (const { startServer, buildWorker } of [await serverOf(folder), here]) {
    const server = await startServer(metered, await buildWorker('wrangler.toml', false), upstream);
    const path = `/accounts/${account}${COPIED}/backup`;
    const lines = { ...headers, 'content-type': 'application/jsonl' };
    await answerOf(server, path, { method: 'PUT', headers: lines, body: backupOf(COPIED_TURNS) });
    servers.push(server);
  }
  const taken = COPIES.map((copy) => ({ ...copy, cpu: [] as Pair[], wall: [] as Pair[] }));
  // The first round warms both up.
  for (let round = 0; round <= rounds; round += 1) {
    for (const { title, path, init, cpu, wall } of taken) {
      progress(`round ${round} of ${rounds}: ${title}`);
      const [cpuMs, wallMs]: [number[], number[]] = [[], []];
      const inOrder = [...servers.entries()];
      for (const [at, server] of round % 2 === 0 ? inOrder : inOrder.toReversed()) {
        const [before, began] = [cpuOf(server), performance.now()];
        await answerOf(server, `${COPIED}/${path}`, { ...init, headers });
        wallMs[at] = performance.now() - began;
        await sleep(AFTERWORK_MS);
        cpuMs[at] = cpuOf(server) - before;
      }
      if (round === 0) continue;
      cpu.push(pairOf(cpuMs));
      wall.push(pairOf(wallMs));
    }
  }
  for (const server of servers) await server.stop();
  return taken.flatMap(({ title, cpu, wall }) => [pairing(title, cpu), pairing(`${title}, by the clock`, wall)]);
}

/** @returns who may restore conversations */
async function adminOfBench() {
  const account = 'bench';
  const { token } = await mintToken(SIGNING_SECRET, { account, scopes: ['messages', 'admin'] });
  return { account, headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' } };
}

/** Reads an answer whole. @throws Error unless it is a success */
async function answerOf({ origin }: here.Server, path: string, init: RequestInit): Promise<void> {
  const response = await fetch(origin + path, init);
  const text = await response.text();
  if (!response.ok) throw new Error(`${path}: ${response.status} ${text.slice(0, 300)}`);
}

function cpuOf(server: here.Server): number {
  const cpuMs = server.cpuMs();
  if (cpuMs === undefined) throw new Error('CPU can be read on Linux only');
  return cpuMs;
}

/** @returns what starts servers of another checkout */
async function serverOf(folder: string): Promise<typeof here> {
  return (await import(pathToFileURL(resolve(benchIn(folder), 'server.ts')).href)) as typeof here;
}

/** The same contender with the Worker of another checkout. */
function movedTo(folder: string, contender: Contender): Contender {
  const { worker } = contender;
  if (worker === 'wrangler.toml') return contender;
  const name = worker.file.pathname.split('/').at(-1) ?? '';
  return { ...contender, worker: { ...worker, file: pathToFileURL(resolve(benchIn(folder), 'workers', name)) } };
}

/**
 * Measures the CPU of this checkout's Worker beside that of another checkout, in turns.
 *
 * @param folder of the other checkout, in which `npm install` has been run
 */
export async function measureBeside(
  folder: string,
  upstream: string,
  rounds: number,
  progress: (text: string) => void,
): Promise<Pairing[]> {
  const there = await serverOf(folder);
  const load = startChild(new URL('load.ts', import.meta.url));
  const measured = [];
  for (const way of waysOf()) {
    const { contender } = way;
    const moved = movedTo(folder, contender);
    const before = await there.startServer(moved, await there.buildWorker(moved.worker, false), upstream);
    const now = await here.startServer(contender, await here.buildWorker(contender.worker, false), upstream);
    const sides = [before, now].map((server) => ({ server, client: new Client(load, contender, server) }));
    measured.push({ ...way, sides, pairs: [] as Pair[] });
  }
  // The first round warms everybody up.
  for (let round = 0; round <= rounds; round += 1) {
    for (const { seed, sides } of measured) for (const { client } of sides) await seed?.(client);
    await sleep(EVICTED_MS);
    for (const { title, workload, parts, sides, pairs } of measured) {
      progress(`round ${round} of ${rounds}: ${title}`);
      for (let part = 0; part < parts; part += 1) {
        const cpuMs: number[] = [];
        const inOrder = [...sides.entries()];
        // Who comes second finds another machine than who comes first.
        for (const [at, { client }] of (round + part) % 2 === 0 ? inOrder : inOrder.toReversed()) {
          const taken = await client.measureCpu(workload);
          if (taken === undefined) throw new Error('CPU can be read on Linux only');
          cpuMs[at] = taken;
        }
        if (round > 0) pairs.push(pairOf(cpuMs));
      }
    }
  }
  for (const { sides } of measured) for (const { server } of sides) await server.stop();
  load.disconnect();
  return measured.map(({ title, pairs }) => pairing(title, pairs));
}

const pairOf = ([there = 0, here = 0]: readonly number[]): Pair => ({ there, here });

function pairing(title: string, pairs: readonly Pair[]): Pairing {
  return {
    title,
    there: spread(pairs.map(({ there }) => there)),
    here: spread(pairs.map(({ here }) => here)),
    added: middleHalf(pairs.map(({ there, here }) => here - there)),
    ratio: middleHalf(pairs.map(({ there, here }) => here / there)),
    less: pairs.filter(({ there, here }) => here < there).length,
    pairs: pairs.length,
  };
}

/** The median, and what the middle half lies between: one slow second of the machine does not show. */
function middleHalf(values: number[]): Spread {
  return { median: spread(values).median, min: quantile(values, 0.25), max: quantile(values, 0.75) };
}

/** @returns the table that is printed */
export function besideTable(pairings: Pairing[]): string {
  const percent = (ratio: number) => `${ratio < 1 ? '−' : '+'}${(Math.abs(ratio - 1) * 100).toFixed(1)} %`;
  const micro = (ms: number) => `${ms < 0 ? '−' : '+'}${(Math.abs(ms) * 1_000).toFixed(0)} µs`;
  return align([
    ['CPU ms/request', 'there', 'here', 'differences: median', 'middle half', '', 'here less'],
    ...pairings.map(({ title, there, here, added, ratio, less, pairs }) => [
      `  ${title}`,
      number(there.median),
      number(here.median),
      `${percent(ratio.median)}, ${micro(added.median)}`,
      `${percent(ratio.min)} to ${percent(ratio.max)}`,
      `${micro(added.min)} to ${micro(added.max)}`,
      `${less} of ${pairs}`,
    ]),
  ]);
}
