/** Tables of what was measured in turns. */
import { type FigureName, figures, type Measurement } from './figures.ts';
import type { Measured } from './rounds.ts';
import { type Spread, spread } from './statistics.ts';
import { markdown, number } from './table.ts';
import { burst, flushed, live, paced, type Workload } from './workloads.ts';

/** The lines of the guide, each with whom the others stand beside. */
const LINES: readonly { title: string; workload: Workload; figure: FigureName; beside: string }[] = [
  { title: '200 events in one write', workload: burst, figure: 'cpu', beside: 'bare' },
  { title: '1,000 events, each flushed separately', workload: flushed, figure: 'cpu', beside: 'bare' },
  { title: '64 streams at once, 40 tokens a second', workload: live, figure: 'cpu', beside: 'late copy' },
  { title: 'first event, added p50', workload: burst, figure: 'firstEvent', beside: 'bare' },
  {
    title: 'first event, added p50, if events arrive one by one',
    workload: paced,
    figure: 'firstEvent',
    beside: 'bare',
  },
];
/** The names of columns, and of those of the other checkout. */
const COLUMNS = ['relay', 'metered', 'turn'];
const there = (name: string) => `${name} there`;

/** @returns a figure beside another one, pair by pair: their ratio, or what is added */
function compared(own: readonly Measurement[], beside: readonly Measurement[], figure: FigureName): number[] {
  const { value, isAdded } = figures[figure];
  return own.flatMap((measurement, at) => {
    const base = beside[at];
    if (base === undefined) return [];
    return [isAdded ? value(measurement) - value(base) : value(measurement) / value(base)];
  });
}

/** @returns the table of `docs/cost.md`, with the columns of another checkout where there is one */
export function speedTable(measured: Measured): string {
  const names = COLUMNS.flatMap((name) => [name, there(name)]).filter((name) => measured.get(burst)?.has(name));
  const rows = LINES.map(({ title, workload, figure, beside }) => [
    title,
    ...names.map((name) => {
      const of = measured.get(workload);
      const { median } = spread(compared(of?.get(name) ?? [], of?.get(beside) ?? [], figure));
      return figures[figure].isAdded ? `${number(median)} ms` : `${number(median)} ×`;
    }),
  ]);
  return markdown([['work', ...names], ...rows]);
}

/** @returns the table of this checkout beside another one: the median of all pairs, and their middle half */
export function besideTable(measured: Measured): string {
  const rows = LINES.flatMap(({ title, workload, figure }) =>
    COLUMNS.filter((name) => measured.get(workload)?.has(there(name))).map((name) => {
      const of = measured.get(workload);
      const pairs = compared(of?.get(name) ?? [], of?.get(there(name)) ?? [], figure);
      const isLess = (value: number) => (figures[figure].isAdded ? value < 0 : value < 1);
      return [
        `${name}: ${title}`,
        spreadText(spread(pairs), figures[figure].isAdded),
        `${pairs.filter(isLess).length} of ${pairs.length}`,
      ];
    }),
  );
  return markdown([['work', 'here beside there', 'here less'], ...rows]);
}

function spreadText({ median, from, to }: Spread, isAdded: boolean): string {
  const text = (value: number) => (isAdded ? `${number(value)} ms` : `${((value - 1) * 100).toFixed(1)} %`);
  return `${text(median)} (${text(from)} to ${text(to)})`;
}
