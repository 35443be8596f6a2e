import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { IS_NIGHT, type MeasuredEdge, startMeasuredEdge } from './edge.ts';
import { type Growth, MOST_TIMES } from './measure.ts';
import type { Row } from './row.ts';
import { ROWS } from './rows.ts';

let edge: MeasuredEdge;
const begunMs = ownCpuMs();

beforeAll(async () => {
  edge = await startMeasuredEdge(inject('worker'));
});

afterAll(async () => {
  const [there, here] = [edge.cpuMs(), ownCpuMs() - begunMs];
  process.stdout.write(`${Math.round(there)} ms of CPU of the edge, ${Math.round(here)} ms of the tests\n`);
  await edge.stop();
});

function ownCpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

/** Measures a row with as many as the edge takes: where a limit of bodies refuses them, with half as many. */
async function growthOfMost(row: Row, n: number): Promise<Growth & { n: number }> {
  try {
    return { n, ...(await edge.growthOf(row, n)) };
  } catch (thrown) {
    // What is still being sent when it is refused breaks off.
    const isTooMuch = thrown instanceof Error && /: 413 |^fetch failed$/.test(thrown.message);
    if (!isTooMuch || n <= row.n) throw thrown;
    return await growthOfMost(row, Math.max(row.n, Math.floor(n / 2)));
  }
}

test.each(ROWS)('eight times as many take no more than twenty times as long: $what, at $where', async (row) => {
  const { what, most = row.n * 64 } = row;
  const { n, least, eightfold, times, stretch } = await growthOfMost(row, IS_NIGHT ? Math.floor(most / 8) : row.n);
  const figures = `${times.toFixed(1)} ×: ${least.toFixed(1)} ms for ${n}, ${eightfold.toFixed(1)} ms for ${n * 8}`;
  process.stdout.write(`${figures}; ${stretch.toFixed(0)} ms in one stretch: ${what}\n`);
  expect(times).toBeLessThanOrEqual(MOST_TIMES);
});
