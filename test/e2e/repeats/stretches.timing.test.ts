/** The longest stretch of what is dearest, by day: all rows, as large as they may be, are measured by night. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bundleWorker } from '../../../scripts/bundle.ts';
import { hasCompiler } from '../../runner/calendar-library.ts';
import { type MeasuredEdge, startMeasuredEdge } from './edge.ts';
import { ROWS } from './rows.ts';

/** Milliseconds of CPU. What is measured takes many times as long where it is not paced. */
const MOST_MS = 80;

/** The rows, each with as many as take some tenths of a second in all. */
const DEAREST: Record<string, number> = {
  'turns before a fork': 1_000,
  'turns before an export': 1_500,
  'turns before an export as shown': 1_500,
  'turns before a page of messages as shown': 1_500,
  'turns before a backup': 1_500,
  'lines of a backup': 1_000,
  'turns before a rewind': 1_500,
  'messages that a conversation begins with': 8_000,
  'calls of the edge in one answer': 8_000,
  'deltas of an answer that a bound token follows': 12_000,
  'blocks of a turn': 16_000,
};

let edge: MeasuredEdge;
beforeAll(async () => {
  if (hasCompiler()) edge = await startMeasuredEdge((await bundleWorker({ SLUICE_SIMULATOR: 'true' })).code);
});
afterAll(() => edge?.stop());

test.skipIf(!hasCompiler()).each(Object.entries(DEAREST))(
  'others come first behind each stretch: %s',
  async (what, n) => {
    const row = ROWS.find((one) => one.what === what);
    if (!row) throw new Error('There is no such row.');
    const { stretch, mostStretch } = await edge.stretchOf(row, n, MOST_MS);
    process.stdout.write(`${stretch.toFixed(0)} ms of ${mostStretch.toFixed(0)} in one stretch: ${n} ${what}\n`);
    expect(stretch).toBeLessThanOrEqual(mostStretch);
  },
);
