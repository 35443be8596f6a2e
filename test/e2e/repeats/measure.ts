/** Measures what requests cost an edge, in CPU of the thread that all of them share. */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseOrUndefined } from '../../../src/edge/kit/json/parse.ts';
import type { Edge, WatchedEdge } from '../../support/edge.ts';
import type { Ask, Row, Send } from './row.ts';

/** Beyond this a row is more than linear: eight times as much, squared, is 64 times the work. */
export const MOST_TIMES = 20;
/** At or below this it is not measured again. */
const SURELY_LINEAR = 12;
const TRIES = 3;
/** The longest stretch of our own code, in milliseconds of CPU. */
const MOST_STRETCH_MS = 50;
/** What is shorter is too near to what a thread does besides. */
const LEAST_MS = 20;
const MOST_RUNS = 30;
/** A settlement waits for up to 20 ms. */
const QUIET_MS = 25;

let names = 0;

/** The longest stretch of a run, in milliseconds of CPU. */
export interface Stretch {
  stretch: number;
  /** What it may take at most, with the engine's own work in it. */
  mostStretch: number;
}

/** A row that was measured; milliseconds of CPU for one run. The stretch is that of eight times as many. */
export interface Growth extends Stretch {
  least: number;
  eightfold: number;
  /** How many times as long eight times as many take. */
  times: number;
}

/**
 * Measures a row at n and at 8 n, in turns, until it is surely linear and paced, and at most three times. The best of each
 * counts: what else the machine does only makes one longer.
 */
export async function measureGrowth(edge: WatchedEdge, send: Send, row: Row, n: number): Promise<Growth> {
  let [least, eightfold, stretch] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  let mostStretch = 0;
  // Before it is measured the runtime compiles what it needs.
  await run(edge, send, row, n);
  for (let tried = 0; tried < TRIES; tried += 1) {
    // What is short is disturbed more easily: it is measured more often.
    for (const _ of [1, 2]) least = Math.min(least, await measure(edge, send, row, n));
    const ran = await run(edge, send, row, n * 8);
    eightfold = Math.min(eightfold, ran.cpuMs);
    stretch = Math.min(stretch, ran.stretch);
    ({ mostStretch } = ran);
    if (eightfold / least <= SURELY_LINEAR && stretch <= mostStretch) break;
  }
  return { least, eightfold, times: eightfold / least, stretch, mostStretch };
}

/**
 * Measures the longest stretch of a row, until it is short enough, and at most three times. The best counts.
 *
 * @param enough in milliseconds of CPU, without the engine's own work
 */
export async function measureStretch(
  edge: WatchedEdge,
  send: Send,
  row: Row,
  n: number,
  enough: number,
): Promise<Stretch> {
  let best: Stretch = { stretch: Number.POSITIVE_INFINITY, mostStretch: 0 };
  for (let tried = 0; tried < TRIES && best.stretch > best.mostStretch; tried += 1) {
    const { stretch, mostStretch } = await run(edge, send, row, n);
    best = { stretch: Math.min(best.stretch, stretch), mostStretch: mostStretch - MOST_STRETCH_MS + enough };
  }
  return best;
}

/** @returns the milliseconds of CPU that a run takes, on the mean of as many as take long enough to be measured */
async function measure(edge: WatchedEdge, send: Send, row: Row, n: number): Promise<number> {
  let [total, runs] = [0, 0];
  while (total < LEAST_MS && runs < MOST_RUNS) {
    total += (await run(edge, send, row, n)).cpuMs;
    runs += 1;
  }
  return total / runs;
}

/** @returns the milliseconds of CPU that the requests of a row take, with what goes on behind their answers */
async function run(edge: WatchedEdge, send: Send, row: Row, n: number): Promise<{ cpuMs: number } & Stretch> {
  names += 1;
  const id = `r${names}`;
  const made = (await row.prepare?.(send, n, id)) ?? '';
  const asks = [row.asks(n, id, made)].flat();
  const before = await quiet(edge);
  edge.longestMs();
  for (const ask of asks) await send(ask);
  const cpuMs = (await quiet(edge)) - before;
  const stretch = edge.longestMs();
  const longest = asks.map(longestTextOf).reduce((most, text) => (text.length > most.length ? text : most), '');
  return { cpuMs, stretch, mostStretch: (row.mostMs ?? MOST_STRETCH_MS) + parsingMs(longest) };
}

/** @returns the longest text that the engine parses of a request: its body, or a line of it. Of a form it parses nothing. */
function longestTextOf({ body = '' }: Ask): string {
  if (body instanceof FormData) return '';
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return text.split('\n').reduce((most, line) => (line.length > most.length ? line : most), '');
}

/**
 * @returns the milliseconds of CPU that the engine itself takes to parse a text: nobody can do that in pieces. A megabyte of
 * small objects takes ten, of long strings less than one
 */
function parsingMs(text: string): number {
  const before = process.threadCpuUsage();
  parseOrUndefined(text);
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / 1_000;
}

/** @returns what the thread has used, once it has ended what it began */
async function quiet(edge: Edge): Promise<number> {
  let before = edge.cpuMs();
  for (;;) {
    await sleep(QUIET_MS);
    const now = edge.cpuMs();
    if (now - before < 0.5) return now;
    before = now;
  }
}
