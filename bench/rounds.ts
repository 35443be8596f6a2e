import { bare, type Contender } from './contenders.ts';
import { type Comparison, compareAll, type Measurement } from './figures.ts';
import { Client, measureStart } from './measure.ts';
import { startChild } from './processes.ts';
import { type Bundle, type Server, startServer } from './server.ts';
import { type Spread, spread } from './statistics.ts';
import type { Workload } from './workloads.ts';

/** What is measured, and how often. */
export interface Plan {
  rounds: number;
  workloads: Workload[];
  /** The bare Worker is the first. */
  contenders: { contender: Contender; bundle: Bundle }[];
  upstream: string;
  /** Is told what is being measured. */
  progress: (text: string) => void;
}

/** Each round measures every contender in turn, so that a slow minute of the machine slows them all. */
export async function measureRounds(plan: Plan): Promise<Comparison[]> {
  const load = startChild(new URL('load.ts', import.meta.url));
  const entrants: { contender: Contender; server: Server; client: Client }[] = [];
  for (const { contender, bundle } of plan.contenders) {
    const server = await startServer(contender, bundle, plan.upstream);
    entrants.push({ contender, server, client: new Client(load, contender, server) });
  }
  const measured = new Map<string, Measurement[]>();
  const roundsOf = (workload: Workload, contender: Contender): Measurement[] => {
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
  return plan.workloads.flatMap((workload) =>
    entrants
      .filter(({ contender }) => contender !== bare && contender.workloads?.includes(workload.name) !== false)
      .flatMap(({ contender }) =>
        compareAll(
          { workload: workload.name, contender: contender.name },
          contender.ceilings,
          roundsOf(workload, bare),
          roundsOf(workload, contender),
        ),
      ),
  );
}

/** The size of a Worker and the time it takes to start. */
export interface Start {
  contender: string;
  bytes: number;
  gzipBytes: number;
  startMs: Spread;
}

/** How long each Worker takes from nothing to its first answer, again in turns. */
export async function measureStarts(plan: Plan, workload: Workload): Promise<Start[]> {
  const times = plan.contenders.map((entrant) => ({ ...entrant, startMs: [] as number[] }));
  for (let round = 1; round <= plan.rounds; round += 1) {
    for (const { contender, bundle, startMs } of times) {
      plan.progress(`start ${round} of ${plan.rounds}: ${contender.name}`);
      startMs.push(await measureStart(contender, bundle, plan.upstream, workload));
    }
  }
  return times.map(({ contender, bundle, startMs }) => ({
    contender: contender.name,
    bytes: bundle.bytes,
    gzipBytes: bundle.gzipBytes,
    startMs: spread(startMs),
  }));
}
