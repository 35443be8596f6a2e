import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RESULTS_MS } from '../../src/batches/journal.ts';
import { busySeconds, JOB_MAKING_MS, jobDueAt } from '../../src/classifications/job-schedule.ts';
import type { Job } from '../../src/classifications/job-tables.ts';
import { tryCases } from '../support/runs.ts';

const job = (members: Partial<Job>): Job => ({ createdAt: 0, touchedAt: 0, ...members }) as Job;

test('a running job is polled after a tenth of its age, but no sooner than after two seconds and no later than after a minute', () => {
  tryCases(100, fc.integer({ min: 0, max: 90_000_000 }), (age) => {
    const pause = jobDueAt(job({ phase: 'running' }), age) - age;
    expect(pause).toBeGreaterThanOrEqual(2_000);
    expect(pause).toBeLessThanOrEqual(60_000);
    if (age >= 20_000 && age <= 600_000) expect(pause).toBeCloseTo(age / 10);
  });
});

test('a job that has ended waits for its delivery, and then until its results go', () => {
  const ended = { phase: 'ended', endedAt: 5_000 } as const;
  expect(jobDueAt(job({ ...ended, delivery: { failures: 1, nextAt: 9_000 } }), 6_000)).toBe(9_000);
  expect(jobDueAt(job(ended), 6_000)).toBe(5_000 + RESULTS_MS);
});

test('a job that is being made waits for its maker; one that was abandoned is looked at soon', () => {
  const made = { phase: 'sending', touchedAt: 1_000 } as const;
  expect(jobDueAt(job(made), 2_000)).toBe(1_000 + JOB_MAKING_MS);
  expect(jobDueAt(job(made), JOB_MAKING_MS)).toBe(JOB_MAKING_MS + 30_000);
  expect(jobDueAt(job({ ...made, isAbandoned: true }), 2_000)).toBe(32_000);
});

test('the same request is told to come when its maker must be done or dead, after five minutes at the most', () => {
  tryCases(100, fc.constantFrom('taking' as const, 'sending' as const), fc.nat(JOB_MAKING_MS), (phase, silent) => {
    const seconds = busySeconds({ phase, touchedAt: 1_000 }, 1_000 + silent);
    expect(seconds).toBeGreaterThanOrEqual(1);
    expect(silent + seconds * 1_000).toBeLessThanOrEqual(5 * 60_000 + 1_000);
    const dead = phase === 'taking' ? 60_000 : JOB_MAKING_MS;
    // Who seems to live is soon asked again; for a dead one, one more try is enough.
    if (silent < 5_000) expect(seconds).toBe(5);
    else if (silent < dead) expect(silent + seconds * 1_000).toBeGreaterThanOrEqual(dead);
  });
});
