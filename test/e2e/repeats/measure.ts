/** Measures what requests cost an edge, in CPU of the thread that all of them share. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { MeasuredEdge } from './edge.ts';
import type { Row } from './rows.ts';

/** At or below this it is not measured again. */
const SURELY_LINEAR = 12;
const TRIES = 3;
/** What is shorter is too near to what a thread does besides. */
const LEAST_MS = 20;
const MOST_RUNS = 30;
/** A settlement waits for up to 20 ms. */
const QUIET_MS = 25;

let names = 0;

/** A row that was measured; milliseconds of CPU for one run. */
export interface Growth {
  least: number;
  eightfold: number;
  /** How many times as long eight times as many take. */
  times: number;
}

/**
 * Measures a row at n and at 8 n, in turns, until it is surely linear, and at most three times. The best of each counts: what
 * else the machine does only makes one longer.
 */
export async function measureGrowth(edge: MeasuredEdge, row: Row, n: number): Promise<Growth> {
  let [least, eightfold] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  // Before it is measured the runtime compiles what it needs.
  await run(edge, row, n);
  for (let tried = 0; tried < TRIES; tried += 1) {
    // What is short is disturbed more easily: it is measured more often.
    for (const _ of [1, 2]) least = Math.min(least, await measure(edge, row, n));
    eightfold = Math.min(eightfold, await run(edge, row, n * 8));
    if (eightfold / least <= SURELY_LINEAR) break;
  }
  return { least, eightfold, times: eightfold / least };
}

/** @returns the milliseconds of CPU that a run takes, on the mean of as many as take long enough to be measured */
async function measure(edge: MeasuredEdge, row: Row, n: number): Promise<number> {
  let [total, runs] = [0, 0];
  while (total < LEAST_MS && runs < MOST_RUNS) {
    total += await run(edge, row, n);
    runs += 1;
  }
  return total / runs;
}

/** @returns the milliseconds of CPU that the requests of a row take, with what goes on behind their answers */
async function run(edge: MeasuredEdge, row: Row, n: number): Promise<number> {
  names += 1;
  const id = `r${names}`;
  await row.prepare?.(edge.send, n, id);
  const ask = row.asks(n, id);
  const before = await quiet(edge);
  await edge.send(ask);
  return (await quiet(edge)) - before;
}

/** @returns what the thread has used, once it has ended what it began */
async function quiet(edge: MeasuredEdge): Promise<number> {
  let before = edge.cpuMs();
  for (;;) {
    await sleep(QUIET_MS);
    const now = edge.cpuMs();
    if (now - before < 0.5) return now;
    before = now;
  }
}
