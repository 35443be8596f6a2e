import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { type MeasuredEdge, startMeasuredEdge } from './edge.ts';
import { type Growth, measureGrowth } from './measure.ts';
import { ROWS, type Row } from './rows.ts';

/** Beyond this a row is more than linear: eight times as much, squared, is 64 times the work. */
const MOST_TIMES = 20;

let edge: MeasuredEdge;

beforeAll(async () => {
  edge = await startMeasuredEdge(inject('worker'));
});

afterAll(() => edge.stop());

/** Measures a row with as many as the edge takes: where a limit of bodies refuses them, with half as many. */
async function growthOfMost(row: Row, n: number): Promise<Growth & { n: number }> {
  try {
    return { n, ...(await measureGrowth(edge, row, n)) };
  } catch (thrown) {
    // What is still being sent when it is refused breaks off.
    const isTooMuch = thrown instanceof Error && /: 413 |^fetch failed$/.test(thrown.message);
    if (!isTooMuch || n <= row.n) throw thrown;
    return await growthOfMost(row, Math.max(row.n, Math.floor(n / 2)));
  }
}

test.each(ROWS)(
  'eight times as many repeated items take at most twenty times as long: $what, at $where',
  async (row) => {
    const { what, most = row.n * 64 } = row;
    const { n, least, eightfold, times } = await growthOfMost(row, Math.floor(most / 8));
    process.stdout.write(
      `${times.toFixed(1)} ×: ${least.toFixed(1)} ms for ${n}, ${eightfold.toFixed(1)} ms for ${n * 8}: ${what}\n`,
    );
    expect(times).toBeLessThanOrEqual(MOST_TIMES);
  },
);
