import { quantile, type Spread, spread } from './statistics.ts';

/** What one contender did with one workload in one round. */
export interface Measurement {
  /** Per request; undefined where it cannot be read. */
  cpuMs: number | undefined;
  requestsPerSecond: number;
  firstEventMs: number[];
  endMs: number[];
  /** From writing each event to its arrival; empty where events do not tell when they were written. */
  delayMs: number[];
}

/** Joins the parts of a round, which have as many requests each. */
export function joinParts(parts: readonly Measurement[]): Measurement {
  const cpuMs = parts.flatMap((part) => part.cpuMs ?? []);
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  return {
    cpuMs: cpuMs.length === parts.length ? mean(cpuMs) : undefined,
    requestsPerSecond: 1 / mean(parts.map(({ requestsPerSecond }) => 1 / requestsPerSecond)),
    firstEventMs: parts.flatMap(({ firstEventMs }) => firstEventMs),
    endMs: parts.flatMap(({ endMs }) => endMs),
    delayMs: parts.flatMap(({ delayMs }) => delayMs),
  };
}

/** The figures that are printed of each workload. Another one is another entry. */
export const figures = {
  cpu: { title: 'CPU ms/request', value: (measured: Measurement) => measured.cpuMs },
  requestsPerSecond: { title: 'requests/s', value: (measured: Measurement) => measured.requestsPerSecond },
  firstEventP50: {
    title: 'first event p50 ms',
    value: (measured: Measurement) => quantile(measured.firstEventMs, 0.5),
  },
  firstEventP99: {
    title: 'first event p99 ms',
    value: (measured: Measurement) => quantile(measured.firstEventMs, 0.99),
  },
  endP50: { title: 'end p50 ms', value: (measured: Measurement) => quantile(measured.endMs, 0.5) },
  endP99: { title: 'end p99 ms', value: (measured: Measurement) => quantile(measured.endMs, 0.99) },
  delayP99: {
    title: 'event delay p99 ms',
    value: ({ delayMs }: Measurement) => (delayMs.length > 0 ? quantile(delayMs, 0.99) : undefined),
  },
} satisfies Record<string, { title: string; value: (measured: Measurement) => number | undefined }>;

type FigureName = keyof typeof figures;

/**
 * What a figure of one workload may be: itself, as a multiple of the figure that it is compared with, or above that. What is added
 * is in milliseconds of the machine on which ceilings were set: on a slower one it may be more (`slownessOf`).
 */
export interface Ceiling {
  workload: string;
  figure: FigureName;
  of: 'value' | 'ratio' | 'added';
  max: number;
  /** Where the figure is to go, in the same unit. */
  goal?: number;
}

/** A ceiling, with whether the figure is over it, and whether it misses its goal. */
export type JudgedCeiling = Ceiling & { over: boolean; missed: boolean };

/** When the bare Worker's first event of a burst came on the machine on which ceilings were set. In ms, at the middle. */
const BARE_FIRST_EVENT_MS = 0.4;

/**
 * Tells how many times slower this machine is than the one on which ceilings were set: the same code adds as many times more
 * milliseconds. A faster one changes no ceiling.
 *
 * @param bareRounds the bare Worker's bursts; without any, nothing is known and 1 is returned
 */
export function slownessOf(bareRounds: Measurement[]): number {
  if (bareRounds.length === 0) return 1;
  const { median } = spread(bareRounds.map(figures.firstEventP50.value));
  return Math.max(1, median / BARE_FIRST_EVENT_MS);
}

/** One figure of a contender beside that of another Worker, both measured in the same rounds. */
export interface Comparison {
  workload: string;
  contender: string;
  figure: FigureName;
  /** Who it is compared with, and what that one's figure is. */
  beside: string;
  base: Spread;
  value: Spread;
  ratio: Spread;
  added: Spread;
  ceiling?: JudgedCeiling;
}

/** Compares round by round, so that what disturbs the machine for a while disturbs both sides of a ratio. */
function compare(figure: FigureName, baseRounds: Measurement[], ownRounds: Measurement[]) {
  const pairs: { base: number; own: number }[] = [];
  for (const [round, baseMeasured] of baseRounds.entries()) {
    const ownMeasured = ownRounds[round];
    const base = figures[figure].value(baseMeasured);
    const own = ownMeasured && figures[figure].value(ownMeasured);
    if (base === undefined || own === undefined) return undefined;
    pairs.push({ base, own });
  }
  return {
    base: spread(pairs.map(({ base }) => base)),
    value: spread(pairs.map(({ own }) => own)),
    ratio: spread(pairs.map(({ base, own }) => own / base)),
    added: spread(pairs.map(({ base, own }) => own - base)),
  };
}

/** Every figure of one contender and workload that could be measured, judged by the contender's ceilings. */
export function compareAll(
  names: { workload: string; contender: string; beside: string },
  { ceilings, slowness }: { ceilings: Ceiling[]; slowness: number },
  baseRounds: Measurement[],
  ownRounds: Measurement[],
): Comparison[] {
  return (Object.keys(figures) as FigureName[]).flatMap((figure) => {
    const compared = compare(figure, baseRounds, ownRounds);
    if (compared === undefined) return [];
    const ceiling = ceilings.find((candidate) => candidate.workload === names.workload && candidate.figure === figure);
    if (ceiling === undefined) return [{ ...names, figure, ...compared }];
    const max = ceiling.of === 'added' ? ceiling.max * slowness : ceiling.max;
    const { median } = compared[ceiling.of];
    const missed = ceiling.goal !== undefined && median > ceiling.goal;
    return [{ ...names, figure, ...compared, ceiling: { ...ceiling, max, over: median > max, missed } }];
  });
}
