import { setTimeout as sleep } from 'node:timers/promises';
import { COUNTED_CONVERSATIONS, type Contender } from './contenders.ts';
import { Client } from './measure.ts';
import { startChild } from './processes.ts';
import { type Server, startServer } from './server.ts';
import type { Workload } from './workloads.ts';

/** What one request is billed for. */
export interface Counts {
  /** Milliseconds of the whole process, with the counting. */
  cpuMs: number;
  objectCalls: number;
  rowsWritten: number;
  kvReads: number;
}

const afterworkMs = 500;
/** Until then it is counted what a request leaves behind; the clocks of the objects are turned in steps. */
const [UNTIL_MS, STEP_MS] = [3_600_000, 300_000];

/** Counts, over many requests of a workload, what each of them is billed for. */
export async function countBilled(
  contender: Contender,
  workload: Workload,
  script: string,
  upstream: string,
): Promise<Counts & { seconds: number }> {
  const server = await startServer(contender, script, upstream);
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
  const {
    result: { endMs },
    ...counts
  } = counted;
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
): Promise<Counts & { result: T }> {
  await sleep(afterworkMs);
  const before = await countsOf(server);
  const result = await work();
  await sleep(afterworkMs);
  const { cpuMs } = await countsOf(server);
  await until();
  return { result, ...countsBetween(before, { ...(await countsOf(server)), cpuMs }, requests) };
}

/** @returns what was counted since the server started */
export async function countsOf(server: Server): Promise<Counts> {
  const counts = (await (await fetch(`${server.origin}/counts`)).json()) as Omit<Counts, 'cpuMs'>;
  return { ...counts, cpuMs: server.cpuMs() };
}

/** @returns what was counted between two times, divided by how many requests it is of */
export function countsBetween(before: Counts, after: Counts, requests: number): Counts {
  const each = (name: keyof Counts) => (after[name] - before[name]) / requests;
  return {
    cpuMs: each('cpuMs'),
    objectCalls: each('objectCalls'),
    rowsWritten: each('rowsWritten'),
    kvReads: each('kvReads'),
  };
}
