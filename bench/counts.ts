import type { Contender } from './contenders.ts';
import { Client } from './measure.ts';
import { startChild } from './processes.ts';
import { buildWorker, startServer } from './server.ts';
import type { Workload } from './workloads.ts';

/** What one request is billed for beside CPU. */
export interface Counts {
  objectCalls: number;
  rowsWritten: number;
}

const afterworkMs = 500;

/** Counts, over many requests of a workload, what each of them is billed for. */
export async function countBilled(
  contender: Contender,
  workload: Workload,
  upstream: string,
  directory: string,
): Promise<Counts> {
  const bundle = await buildWorker(contender.worker, directory);
  const server = await startServer(contender, bundle, upstream);
  const load = startChild(new URL('load.ts', import.meta.url));
  const client = new Client(load, contender, server);
  const read = async () => (await (await fetch(`${server.origin}/counts`)).json()) as Counts;
  await client.warmUp(workload);
  const before = await read();
  await client.measure(workload);
  await new Promise((resolve) => setTimeout(resolve, afterworkMs));
  const after = await read();
  await server.stop();
  load.disconnect();
  const requests = workload.requests + workload.latencyRequests;
  return {
    objectCalls: (after.objectCalls - before.objectCalls) / requests,
    rowsWritten: (after.rowsWritten - before.rowsWritten) / requests,
  };
}
