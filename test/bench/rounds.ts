import type { Contender } from './contenders.ts';
import type { Measurement } from './figures.ts';
import { Client } from './measure.ts';
import { startChild } from './processes.ts';
import type { Server } from './server.ts';
import type { Workload } from './workloads.ts';

/** Who is measured, with which workloads, and what starts it. */
export interface Entrant {
  title: string;
  contender: Contender;
  workloads: readonly Workload[];
  start: () => Promise<Server>;
}

/** By workload and by the title of an entrant: its measurements, those of all entrants in the same order. */
export type Measured = Map<Workload, Map<string, Measurement[]>>;

/** Each part of a round measures every entrant in turn, so that a slow minute of the machine slows them all. */
export async function measureRounds(
  entrants: readonly Entrant[],
  rounds: number,
  tell: (text: string) => void,
): Promise<Measured> {
  const load = startChild(new URL('load.ts', import.meta.url));
  const started: (Entrant & { server: Server; client: Client })[] = [];
  for (const entrant of entrants) {
    const server = await entrant.start();
    started.push({ ...entrant, server, client: new Client(load, entrant.contender, server) });
  }
  const workloads = new Set(entrants.flatMap((entrant) => entrant.workloads));
  const measured: Measured = new Map();
  for (const workload of workloads) measured.set(workload, new Map(entrants.map(({ title }) => [title, []])));
  for (let round = 0; round <= rounds; round += 1) {
    for (const [workload, of] of measured) {
      const taking = started.filter((entrant) => entrant.workloads.includes(workload));
      for (let part = 0; part < (round === 0 ? 1 : workload.parts); part += 1) {
        // Who comes second finds another machine than who comes first, so they take turns at it.
        for (const { title, client } of (round + part) % 2 === 0 ? taking : taking.toReversed()) {
          tell(`round ${round} of ${rounds}: ${workload.name}, ${title}`);
          // The runtime's compiler is still busy with what is hot after a thousand requests: the first round is for it.
          if (round === 0) await client.measure(workload, workload.requests * workload.parts * 2);
          else of.get(title)?.push(await client.measure(workload));
        }
      }
    }
  }
  for (const { server } of started) await server.stop();
  load.disconnect();
  return measured;
}
