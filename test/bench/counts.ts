import { setTimeout as sleep } from 'node:timers/promises';
import { COUNTED_CONVERSATIONS, type Contender } from './contenders.ts';
import { Client } from './measure.ts';
import { startChild } from './processes.ts';
import { type Bundle, type Server, startServer } from './server.ts';
import type { Workload } from './workloads.ts';

/** What one request is billed for. */
interface Counts {
  /** Milliseconds of the whole process, with the counting; NaN where that cannot be read. */
  cpuMs: number;
  objectCalls: number;
  rowsWritten: number;
  kvReads: number;
}

/** The same, with the rows by the statement that wrote them. */
export interface NamedCounts extends Counts {
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
  // What the turns before have left behind is not counted either.
  await passHour(server);
  const counted = await countDuring(
    server,
    workload.requests,
    () => client.send(workload),
    () => passHour(server),
  );
  await server.stop();
  load.disconnect();
  const { result: endMs, ...counts } = counted;
  return { ...counts, seconds: endMs.reduce((sum, ms) => sum + ms, 0) / endMs.length / 1000 };
}

/** Has an hour pass for all objects that were called, with their alarms. @returns milliseconds */
export async function passHour(server: Server): Promise<number> {
  await sleep(afterworkMs);
  for (let passed = 0; passed < UNTIL_MS; passed += STEP_MS) await fetch(`${server.origin}/later?ms=${STEP_MS}`);
  return UNTIL_MS;
}

/**
 * @param until comes behind the work; its rows and calls are counted, its CPU is not. Default: nothing
 * @returns what the requests were billed for while something was done, each of them
 */
export async function countDuring<T>(
  server: Server,
  requests: number,
  work: () => Promise<T>,
  until: () => Promise<unknown> = async () => {},
): Promise<NamedCounts & { result: T }> {
  await sleep(afterworkMs);
  const before = await countsOf(server);
  const result = await work();
  await sleep(afterworkMs);
  const { cpuMs } = await countsOf(server);
  await until();
  return { result, ...countsBetween(before, { ...(await countsOf(server)), cpuMs }, requests) };
}

/** @returns what was counted since the server started */
export async function countsOf(server: Server): Promise<NamedCounts> {
  const counts = (await (await fetch(`${server.origin}/counts`)).json()) as Omit<NamedCounts, 'cpuMs'>;
  return { ...counts, cpuMs: server.cpuMs() ?? Number.NaN };
}

/** @returns what was counted between two times, divided by how many requests it is of */
export function countsBetween(before: NamedCounts, after: NamedCounts, requests: number): NamedCounts {
  const each = (name: keyof Counts) => (after[name] - before[name]) / requests;
  const names = [...new Set([...Object.keys(after.rowsBy), ...Object.keys(before.rowsBy)])];
  const rowsBy = names.map((by) => [by, ((after.rowsBy[by] ?? 0) - (before.rowsBy[by] ?? 0)) / requests] as const);
  return {
    ...{ cpuMs: each('cpuMs'), objectCalls: each('objectCalls') },
    ...{ rowsWritten: each('rowsWritten'), kvReads: each('kvReads') },
    rowsBy: Object.fromEntries(rowsBy.filter(([, rows]) => rows !== 0)),
  };
}
