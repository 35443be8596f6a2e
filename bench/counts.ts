import { setTimeout as sleep } from 'node:timers/promises';
import { COUNTED_CONVERSATIONS, type Contender } from './contenders.ts';
import { Client } from './measure.ts';
import { startChild } from './processes.ts';
import { type Bundle, type Server, startServer } from './server.ts';
import type { Workload } from './workloads.ts';

/** What one request is billed for beside CPU. */
export interface Counts {
  objectCalls: number;
  rowsWritten: number;
  kvReads: number;
}

/** The same, with the rows by the statement that wrote them. */
interface NamedCounts extends Counts {
  rowsBy: Record<string, number>;
}

const afterworkMs = 500;
/** Until then it is counted what a request leaves behind; the clocks of the objects are turned in steps. */
const [UNTIL_MS, STEP_MS] = [3_600_000, 300_000];

/** Counts, over many requests of a workload, what each of them is billed for. */
export async function countBilled(
  contender: Contender,
  workload: Workload,
  bundle: Bundle,
  upstream: string,
): Promise<NamedCounts & { seconds: number }> {
  const server = await startServer(contender, bundle, upstream);
  const load = startChild(new URL('load.ts', import.meta.url));
  const client = new Client(load, contender, server);
  // What is counted is a request to what is there already: each conversation has had a turn before.
  await client.send(workload, COUNTED_CONVERSATIONS);
  const wholeHour = async () => {
    await sleep(afterworkMs);
    for (let passed = 0; passed < UNTIL_MS; passed += STEP_MS) await fetch(`${server.origin}/later?ms=${STEP_MS}`);
  };
  // What the turns before have left behind is not counted either.
  await wholeHour();
  const counted = await countDuring(server, workload.requests, async () => {
    const ended = await client.send(workload);
    await wholeHour();
    return ended;
  });
  await server.stop();
  load.disconnect();
  const { result: endMs, ...counts } = counted;
  return { ...counts, seconds: endMs.reduce((sum, ms) => sum + ms, 0) / endMs.length / 1000 };
}

/** @returns what the requests were billed for while something was done, each of them */
export async function countDuring<T>(
  server: Server,
  requests: number,
  work: () => Promise<T>,
  restMs = afterworkMs,
): Promise<NamedCounts & { result: T }> {
  const read = async () => (await (await fetch(`${server.origin}/counts`)).json()) as NamedCounts;
  await sleep(afterworkMs);
  const before = await read();
  const result = await work();
  await sleep(restMs);
  const after = await read();
  const each = (name: keyof Counts) => (after[name] - before[name]) / requests;
  const rowsBy = Object.entries(after.rowsBy).map(([by, rows]) => [by, (rows - (before.rowsBy[by] ?? 0)) / requests]);
  return {
    ...{ result, objectCalls: each('objectCalls'), rowsWritten: each('rowsWritten'), kvReads: each('kvReads') },
    rowsBy: Object.fromEntries(rowsBy.filter(([, rows]) => rows !== 0)),
  };
}
