import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { type Contender, contenders, newTurn, WAKES, wokenTurn } from './contenders.ts';
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
  const there = (await import(pathToFileURL(resolve(benchIn(folder), 'server.ts')).href)) as typeof here;
  const load = startChild(new URL('load.ts', import.meta.url));
  const measured = [];
  for (const way of waysOf()) {
    const { contender } = way;
    const moved = movedTo(folder, contender);
    const before = await there.startServer(moved, await there.buildWorker(moved.worker, false), upstream);
    const now = await here.startServer(contender, await here.buildWorker(contender.worker, false), upstream);
    const sides = [before, now].map((server) => ({ server, client: new Client(load, contender, server) }));
    measured.push({ ...way, sides, pairs: [] as { there: number; here: number }[] });
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
        const [there = 0, here = 0] = cpuMs;
        if (round > 0) pairs.push({ there, here });
      }
    }
  }
  for (const { sides } of measured) for (const { server } of sides) await server.stop();
  load.disconnect();
  return measured.map(({ title, pairs }) => ({
    title,
    there: spread(pairs.map(({ there }) => there)),
    here: spread(pairs.map(({ here }) => here)),
    added: middleHalf(pairs.map(({ there, here }) => here - there)),
    ratio: middleHalf(pairs.map(({ there, here }) => here / there)),
    less: pairs.filter(({ there, here }) => here < there).length,
    pairs: pairs.length,
  }));
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
