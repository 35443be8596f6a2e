import { expect, test } from 'vitest';
import { FailingTaskStore } from '#edge/plugins/pools/failing-tasks.ts';

const HOUR_MS = 3_600_000;

function failingTasks() {
  const meta = new Map<string, string>();
  return new FailingTaskStore({
    readMetaValue: (key) => meta.get(key),
    writeMetaValue: (key, value) => void (value === undefined ? meta.delete(key) : meta.set(key, value)),
  });
}

test('lists a failing task with the time of its first failure, as long as objects report the task', () => {
  const tasks = failingTasks();
  tasks.recordFailingTask({ task: 'alert', since: 5_000, failures: 40 }, HOUR_MS);
  tasks.recordFailingTask({ task: 'alert', since: 2_000, failures: 2 }, 2 * HOUR_MS);
  expect(tasks.listFailingTasks(2 * HOUR_MS)).toEqual([
    { task: 'alert', failing_since: '1970-01-01T00:00:02.000Z', last_reported_at: '1970-01-01T02:00:00.000Z' },
  ]);
  expect(tasks.listFailingTasks(4 * HOUR_MS)).toEqual([]);
});

test('counts the failures of all reports, and lists a new start time after two hours without a report', () => {
  const tasks = failingTasks();
  tasks.recordFailingTask({ task: 'alert', since: 0, failures: 40 }, HOUR_MS);
  tasks.recordFailingTask({ task: 'file', since: 0, failures: 1 }, HOUR_MS);
  tasks.recordFailingTask({ task: 'alert', since: 9 * HOUR_MS, failures: 3 }, 10 * HOUR_MS);
  expect(tasks.listTaskFailures()).toEqual([
    { task: 'alert', failures: 43 },
    { task: 'file', failures: 1 },
  ]);
  expect(tasks.listFailingTasks(10 * HOUR_MS)).toMatchObject([
    { task: 'alert', failing_since: '1970-01-01T09:00:00.000Z' },
  ]);
});

test('returns that an alert is due once for deliveries that have failed for an hour, and again for failures that begin after two hours without any', () => {
  const tasks = failingTasks();
  const report = (task: 'delivery' | 'alert', since: number, now: number) =>
    tasks.recordFailingTask({ task, since: since * HOUR_MS, failures: 1 }, now * HOUR_MS);
  expect(report('alert', 0, 2)).toBeUndefined();
  expect(report('delivery', 0.5, 1)).toBeUndefined();
  expect(report('delivery', 0.5, 2)).toBe(0.5 * HOUR_MS);
  expect(report('delivery', 0.5, 3)).toBeUndefined();
  expect(report('delivery', 9, 9.5)).toBeUndefined();
  expect(report('delivery', 9, 10)).toBe(9 * HOUR_MS);
});
