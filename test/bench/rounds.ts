import { bare, type Contender } from './contenders.ts';
import { type Comparison, compareAll, joinParts, type Measurement, slownessOf } from './figures.ts';
import { Client } from './measure.ts';
import { startChild } from './processes.ts';
import type { Server } from './server.ts';
import { burst, type Workload } from './workloads.ts';

/**
 * Before each part comes such a share of its requests that is not measured. Otherwise each contender pays for the caches that
 * the one before it has filled, and a large one pays more, the more contenders share a run.
 */
const WARMING_PART = 0.25;

/** Who is measured, and what starts it. */
interface Entrant {
  contender: Contender;
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

/** What rounds have found. */
export interface Measured {
  comparisons: Comparison[];
  /** How many times slower this machine is than the one on which ceilings were set: see `slownessOf`. */
  slowness: number;
}

/** Each round measures every contender in turn, so that a slow minute of the machine slows them all. */
export async function measureRounds(plan: Plan): Promise<Measured> {
  const load = startChild(new URL('load.ts', import.meta.url));
  const entrants: { contender: Contender; server: Server; client: Client }[] = [];
  for (const { contender, start } of plan.entrants) {
    const server = await start();
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
      const taking = entrants
        .filter(({ contender }) => contender.workloads?.includes(workload.name) !== false)
        .map((entrant) => ({ ...entrant, parts: [] as Measurement[] }));
      const { parts: count = 1 } = workload;
      for (let part = 0; part < (round === 0 ? 1 : count); part += 1) {
        // Who comes second finds another machine than who comes first, so they take turns at it.
        for (const { contender, client, parts } of (round + part) % 2 === 0 ? taking : taking.toReversed()) {
          plan.progress(`round ${round} of ${plan.rounds}: ${workload.title}, ${contender.name}`);
          if (round === 0) await client.warmUp(workload);
          else {
            const part = partOf(workload, count);
            parts.push(await client.measure(part, Math.ceil(part.requests * WARMING_PART)));
          }
        }
      }
      if (round === 0) continue;
      for (const { contender, parts } of taking) roundsOf(workload, contender).push(joinParts(parts));
    }
  }
  for (const { server } of entrants) await server.stop();
  load.disconnect();
  const bursts = plan.workloads.find(({ name }) => name === burst.name);
  const slowness = slownessOf(bursts === undefined ? [] : roundsOf(bursts, bare));
  const comparisons = plan.workloads.flatMap((workload) => {
    const beside = entrants.find(({ contender }) => contender.name === workload.beside)?.contender ?? bare;
    return entrants
      .filter(({ contender }) => contender !== beside && contender.workloads?.includes(workload.name) !== false)
      .flatMap(({ contender }) =>
        compareAll(
          { workload: workload.name, contender: contender.name, beside: beside.name },
          { ceilings: contender.ceilings, slowness },
          roundsOf(workload, beside),
          roundsOf(workload, contender),
        ),
      );
  });
  return { comparisons, slowness };
}

function partOf(workload: Workload, count: number): Workload {
  const { requests, latencyRequests } = workload;
  return {
    ...workload,
    requests: Math.ceil(requests / count),
    latencyRequests: Math.ceil(latencyRequests / count),
  };
}
