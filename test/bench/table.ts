import { type Comparison, figures, type JudgedCeiling } from './figures.ts';
import type { Spread } from './statistics.ts';

/** Three significant digits, without an exponent. */
export function number(value: number): string {
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.max(Math.abs(value), 0.01))));
  return value.toFixed(Math.min(digits, 3));
}

function signed(value: number): string {
  return value < 0 ? `−${number(-value)}` : `+${number(value)}`;
}

function spreadText({ median, min, max }: Spread, show: (value: number) => string = number): string {
  return `${show(median)} (${show(min)}–${show(max)})`;
}

/** Whether a ceiling was kept, as it is printed. */
export function verdict(limit: string, over: boolean): string {
  return `≤ ${limit} ${over ? 'OVER' : 'ok'}`;
}

/** Whether a goal was reached, as it is printed. A goal is where the figure is to go; what is over a ceiling is a fault. */
function goalVerdict(limit: string, isMissed: boolean): string {
  return `≤ ${limit} ${isMissed ? 'not reached' : 'reached'}`;
}

function ceilingText({ of, max, goal, over, missed }: JudgedCeiling): string {
  const limit = (most: number) => ({ value: String(most), ratio: `${most} ×`, added: `+${number(most)} ms` })[of];
  const kept = verdict(limit(max), over);
  return goal === undefined ? kept : `${kept}, goal ${goalVerdict(limit(goal), missed)}`;
}

/** Rows of cells as lines; every column is as wide as its widest cell. */
export function align(rows: string[][]): string {
  const columns = Math.max(...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('   ')
        .trimEnd(),
    )
    .join('\n');
}

/** One block of rows for each workload and contender; the columns of all blocks are aligned. */
export function comparisonTable(blocks: { title: string; contender: string; comparisons: Comparison[] }[]): string {
  const measured = blocks.filter(({ comparisons }) => comparisons.length > 0);
  const rows = measured.flatMap(({ title, contender, comparisons }) => [
    [],
    [title, comparisons[0]?.beside ?? '', contender, `× ${comparisons[0]?.beside ?? ''}`, 'added', 'ceiling'],
    ...comparisons.map(({ figure, base, value, ratio, added, ceiling }) => [
      `  ${figures[figure].title}`,
      spreadText(base),
      spreadText(value),
      spreadText(ratio),
      spreadText(added, signed),
      ceiling === undefined ? '' : ceilingText(ceiling),
    ]),
  ]);
  return align(rows);
}
