import { bare, type Sender } from './contenders.ts';
import { type Comparison, compareAll, type Measurement, slownessOf } from './figures.ts';
import { Client } from './measure.ts';
import { startChild } from './processes.ts';
import type { Server } from './server.ts';
import type { Workload } from './workloads.ts';

/** Who is measured, and what starts it. */
export interface Entrant {
  contender: Sender;
  start: () => Promise<Server>;
}

/** What is measured, and how often. */
export interface Plan {
  rounds: number;
  workloads: Workload[];
  /** The bare Worker is the first. */
  entrants: Entrant[];
  /** Is told what is being measured. */
  progress: (text: string) => void;
}

/** Each round measures every contender in turn, so that a slow minute of the machine slows them all. */
export async function measureRounds(plan: Plan): Promise<Comparison[]> {
  const load = startChild(new URL('load.ts', import.meta.url));
  const entrants: { contender: Sender; server: Server; client: Client }[] = [];
  for (const { contender, start } of plan.entrants) {
    const server = await start();
    entrants.push({ contender, server, client: new Client(load, contender, server) });
  }
  const measured = new Map<string, Measurement[]>();
  const roundsOf = (workload: Workload, contender: Sender): Measurement[] => {
    const key = `${workload.name} ${contender.name}`;
    const rounds = measured.get(key) ?? [];
    measured.set(key, rounds);
    return rounds;
  };
  for (let round = 0; round <= plan.rounds; round += 1) {
    for (const workload of plan.workloads) {
      // Who comes second finds another machine than who comes first, so they take turns at it.
      for (const { contender, client } of round % 2 === 0 ? entrants : entrants.toReversed()) {
        if (contender.workloads?.includes(workload.name) === false) continue;
        plan.progress(`round ${round} of ${plan.rounds}: ${workload.title}, ${contender.name}`);
        if (round === 0) await client.warmUp(workload);
        else roundsOf(workload, contender).push(await client.measure(workload));
      }
    }
  }
  for (const { server } of entrants) await server.stop();
  load.disconnect();
  const bursts = plan.workloads.find(({ name }) => name === 'burst');
  const slowness = slownessOf(bursts === undefined ? [] : roundsOf(bursts, bare));
  return plan.workloads.flatMap((workload) =>
    entrants
      .filter(({ contender }) => contender !== bare && contender.workloads?.includes(workload.name) !== false)
      .flatMap(({ contender }) =>
        compareAll(
          { workload: workload.name, contender: contender.name },
          { ceilings: contender.ceilings, slowness },
          roundsOf(workload, bare),
          roundsOf(workload, contender),
        ),
      ),
  );
}
