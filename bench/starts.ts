import { bare, type Contender } from './contenders.ts';
import { measureStart } from './measure.ts';
import type { Bundle } from './server.ts';
import { type Spread, spread } from './statistics.ts';
import { align, goalVerdict, number, verdict } from './table.ts';
import type { Workload } from './workloads.ts';

/** In bytes; a kB is 1,000 of them. What is deployed is the Worker that wrangler.toml describes. */
// Of what is deployed: as in test/bundle.test.ts, where the reason for its ceiling stands. The relay has every route, and only
// no objects: agents with MCP servers, approvals and classification by batch brought it 10.5 kB.
const GZIP_CEILINGS: Readonly<Record<string, number>> = { relay: 132_000, metered: 235_000 };
/** Milliseconds by which the first answer of a fresh isolate is to be later than the bare Worker's, at most. */
const ADDED_GOALS: Readonly<Record<string, number>> = { metered: 60 };

/** The size of a Worker and the time it takes to start. */
export interface Start {
  contender: string;
  bytes: number;
  gzipBytes: number;
  /** From nothing to the last byte of the first answer. */
  startMs: Spread;
  /** Beyond the bare Worker's in the same round. */
  addedMs: Spread;
}

/** How long each Worker takes from nothing to its first answer, in turns. The bare one is the first. */
export async function measureStarts(
  entrants: { contender: Contender; bundle: Bundle }[],
  upstream: string,
  rounds: number,
  workload: Workload,
  progress: (text: string) => void,
): Promise<Start[]> {
  const times = entrants.map((entrant) => ({ ...entrant, startMs: [] as number[] }));
  // In the first round the machine reads the runtime from its disk.
  for (let round = 0; round <= rounds; round += 1) {
    for (const { contender, bundle, startMs } of round % 2 === 0 ? times : times.toReversed()) {
      progress(`start ${round} of ${rounds}: ${contender.name}`);
      const elapsed = await measureStart(contender, bundle, upstream, workload);
      if (round > 0) startMs.push(elapsed);
    }
  }
  const bareMs = times.find(({ contender }) => contender === bare)?.startMs ?? [];
  return times.map(({ contender, bundle, startMs }) => ({
    contender: contender.name,
    bytes: bundle.bytes,
    gzipBytes: bundle.gzipBytes,
    startMs: spread(startMs),
    addedMs: spread(startMs.map((ms, round) => ms - (bareMs[round] ?? ms))),
  }));
}

/** @returns whether a Worker is too large */
export function isOver({ contender, gzipBytes }: Start): boolean {
  return gzipBytes > (GZIP_CEILINGS[contender] ?? Number.POSITIVE_INFINITY);
}

export function startTable(starts: Start[]): string {
  const text = ({ median, min, max }: Spread) => `${number(median)} (${number(min)}–${number(max)})`;
  return align([
    ['bundle', 'kB', 'kB gzip', 'ceiling', 'first answer after ms', 'added', 'goal'],
    ...starts.map((start) => {
      const { contender, bytes, gzipBytes, startMs, addedMs } = start;
      const [size, added] = [GZIP_CEILINGS[contender], ADDED_GOALS[contender]];
      return [
        `  ${contender}`,
        number(bytes / 1000),
        number(gzipBytes / 1000),
        size === undefined ? '' : verdict(`${size / 1000}`, isOver(start)),
        text(startMs),
        contender === bare.name ? '' : text(addedMs),
        added === undefined ? '' : goalVerdict(`+${added} ms`, addedMs.median > added),
      ];
    }),
  ]);
}
