import { bare, type Contender } from './contenders.ts';
import { measureStart, type StartMeasurement } from './measure.ts';
import type { Bundle } from './server.ts';
import { type Spread, spread } from './statistics.ts';
import { align, goalVerdict, number, verdict } from './table.ts';
import type { Workload } from './workloads.ts';

/** In bytes; a kB is 1,000 of them. What is deployed is the Worker that wrangler.toml describes. */
// Of what is deployed: as in test/bundle.test.ts, where the reason for its ceiling stands. The relay has every route, and only
// no objects: agents with MCP servers, approvals and classification by batch brought it 10.5 kB, backup and restore, days to
// choose and split errors that are masked 4 kB.
const GZIP_CEILINGS: Readonly<Record<string, number>> = { relay: 137_000, metered: 244_600 };
/** Milliseconds by which the first answer of a fresh isolate is to be later than the bare Worker's, at most. */
const ADDED_GOALS: Readonly<Record<string, number>> = { metered: 60 };
/**
 * Milliseconds of CPU up to there beyond the bare Worker's, which a busy machine changes less than the time that passes. They are
 * those of the machine on which ceilings were set: on a slower one it may be more (`slownessOf`).
 */
const ADDED_CPU_CEILINGS: Readonly<Record<string, number>> = { metered: 120 };

/** The size of a Worker and the time it takes to start. */
export interface Start {
  contender: string;
  bytes: number;
  gzipBytes: number;
  /** From nothing to the last byte of the first answer. */
  startMs: Spread;
  /** Beyond the bare Worker's in the same round. */
  addedMs: Spread;
  /** Of CPU, beyond the bare Worker's in the same round; undefined where it cannot be read. */
  addedCpuMs: Spread | undefined;
}

/** How long each Worker takes from nothing to its first answer, in turns. The bare one is the first. */
export async function measureStarts(
  entrants: { contender: Contender; bundle: Bundle }[],
  upstream: string,
  rounds: number,
  workload: Workload,
  progress: (text: string) => void,
): Promise<Start[]> {
  const times = entrants.map((entrant) => ({ ...entrant, starts: [] as StartMeasurement[] }));
  // In the first round the machine reads the runtime from its disk.
  for (let round = 0; round <= rounds; round += 1) {
    for (const { contender, bundle, starts } of round % 2 === 0 ? times : times.toReversed()) {
      progress(`start ${round} of ${rounds}: ${contender.name}`);
      const measured = await measureStart(contender, bundle, upstream, workload);
      if (round > 0) starts.push(measured);
    }
  }
  const ofBare = times.find(({ contender }) => contender === bare)?.starts ?? [];
  return times.map(({ contender, bundle, starts }) => {
    const addedCpu = starts.flatMap(({ cpuMs }, round) => {
      const bareCpu = ofBare[round]?.cpuMs;
      return cpuMs === undefined || bareCpu === undefined ? [] : [cpuMs - bareCpu];
    });
    return {
      contender: contender.name,
      bytes: bundle.bytes,
      gzipBytes: bundle.gzipBytes,
      startMs: spread(starts.map(({ elapsedMs }) => elapsedMs)),
      addedMs: spread(starts.map(({ elapsedMs }, round) => elapsedMs - (ofBare[round]?.elapsedMs ?? elapsedMs))),
      addedCpuMs: addedCpu.length === 0 ? undefined : spread(addedCpu),
    };
  });
}

/** @param slowness as `slownessOf` tells it. @returns whether a Worker is too large, or computes too long at first */
export function isOver(start: Start, slowness: number): boolean {
  return isTooLarge(start) || isTooSlow(start, slowness);
}

function isTooLarge({ contender, gzipBytes }: Start): boolean {
  return gzipBytes > (GZIP_CEILINGS[contender] ?? Number.POSITIVE_INFINITY);
}

function isTooSlow({ contender, addedCpuMs }: Start, slowness: number): boolean {
  return (addedCpuMs?.median ?? 0) > (ADDED_CPU_CEILINGS[contender] ?? Number.POSITIVE_INFINITY) * slowness;
}

export function startTable(starts: Start[], slowness: number): string {
  const text = ({ median, min, max }: Spread) => `${number(median)} (${number(min)}–${number(max)})`;
  return align([
    ['bundle', 'kB', 'kB gzip', 'ceiling', 'first answer after ms', 'added', 'goal', 'CPU added', 'ceiling'],
    ...starts.map((start) => {
      const { contender, bytes, gzipBytes, startMs, addedMs, addedCpuMs } = start;
      const [size, added, cpu] = [GZIP_CEILINGS[contender], ADDED_GOALS[contender], ADDED_CPU_CEILINGS[contender]];
      return [
        `  ${contender}`,
        number(bytes / 1000),
        number(gzipBytes / 1000),
        size === undefined ? '' : verdict(`${size / 1000}`, isTooLarge(start)),
        text(startMs),
        contender === bare.name ? '' : text(addedMs),
        added === undefined ? '' : goalVerdict(`+${added} ms`, addedMs.median > added),
        contender === bare.name || addedCpuMs === undefined ? '' : text(addedCpuMs),
        cpu === undefined ? '' : verdict(`+${number(cpu * slowness)} ms`, isTooSlow(start, slowness)),
      ];
    }),
  ]);
}
