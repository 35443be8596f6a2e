import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { IS_NIGHT, type MeasuredEdge, startMeasuredEdge } from './edge.ts';
import { MOST_TIMES } from './measure.ts';
import { ROWS } from './rows.ts';

/** By day, of the edge and of the tests together. */
const MOST_CPU_MS = 60_000;

let edge: MeasuredEdge;
const begunMs = ownCpuMs();

beforeAll(async () => {
  edge = await startMeasuredEdge(inject('worker'));
});

afterAll(async () => {
  const [there, here] = [edge.cpuMs(), ownCpuMs() - begunMs];
  process.stdout.write(
    `${Math.round(there)} ms of CPU of the edge, ${Math.round(here)} ms of the tests, of ${MOST_CPU_MS}\n`,
  );
  await edge.stop();
});

function ownCpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

test.each(ROWS)('eight times as many take no more than twenty times as long: $what, at $where', async (row) => {
  const { what, most = row.n * 64 } = row;
  const n = IS_NIGHT ? Math.floor(most / 8) : row.n;
  const { least, eightfold, times } = await edge.growthOf(row, n);
  const figures = `${times.toFixed(1)} ×: ${least.toFixed(1)} ms for ${n}, ${eightfold.toFixed(1)} ms for ${n * 8}`;
  process.stdout.write(`${figures}: ${what}\n`);
  expect(times).toBeLessThanOrEqual(MOST_TIMES);
});
