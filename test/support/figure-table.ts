/** Figures of audited bills, by kind. */

/** What was booked and billed in each case of a kind; nanodollars. */
export type BookedCases = [booked: number, billed: number][];

/** The figures of kinds of cases, as multiples of their bills. */
export class FigureTable {
  readonly #rows: Record<string, Record<string, string | number>> = {};

  /** Notes the figures of a kind. @returns the least and the median, and the sum booked as a multiple of the sum billed */
  addKind(kind: string, cases: BookedCases): { least: number; median: number; sum: number } {
    const times = cases.map(([booked, billed]) => booked / billed).sort((one, other) => one - other);
    const at = (share: number) => times[Math.floor((times.length - 1) * share)] ?? Number.NaN;
    const total = (index: 0 | 1) => cases.reduce((sum, one) => sum + one[index], 0);
    const sum = total(0) / total(1);
    const [least, median] = [at(0), at(0.5)];
    const [min = '', mid = '', p95 = '', max = '', all = ''] = [least, median, at(0.95), at(1), sum].map((one) =>
      one.toFixed(2),
    );
    this.#rows[kind] = { n: times.length, min, median: mid, p95, max, sum: all };
    return { least, median, sum };
  }

  /** Prints all figures: they are shown with --silent=false. */
  print(): void {
    // biome-ignore lint/suspicious/noConsole: somebody runs it to read them
    console.table(this.#rows);
  }
}
