import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type FailingTask, RetryTracker } from '#edge/durable/retries.ts';
import { createNotFoundError } from '#edge/kit/http/errors.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { pools } from '#edge/plugins/pools/plugin.ts';

const MINUTE_MS = 60_000;
const reports: FailingTask[] = [];
let isReachable = true;
let isStorageFull = false;
const failingTasks = async (_: unknown, failing: FailingTask) => {
  if (!isReachable) throw new Error('unreachable');
  reports.push(failing);
};

beforeEach(() => {
  isReachable = true;
  isStorageFull = false;
  reports.length = 0;
  vi.spyOn(pools, 'failingTasks').mockImplementation(failingTasks);
});
afterEach(() => void vi.restoreAllMocks());

/** @returns an object that fails a task again and again */
function failing() {
  let now = 0;
  const works: Promise<unknown>[] = [];
  const logging = vi.spyOn(console, 'error').mockImplementation(() => {});
  const around = { env: {} as Bindings, now: () => now, waitUntil: (work: Promise<unknown>) => void works.push(work) };
  const values = new Map<string, unknown>();
  const storage = {
    get: (key: string) => structuredClone(values.get(key)),
    put: (key: string, value: unknown) => {
      if (isStorageFull) throw new Error('database or disk is full');
      values.set(key, structuredClone(value));
    },
    delete: (key: string) => values.delete(key),
  } as SyncKvStorage;
  const wake = () => new RetryTracker('inbox github', storage, around);
  let retries = wake();
  /** Has the object hibernate and wake: it loses its memory. */
  const hibernate = () => {
    retries = wake();
  };
  const lines = () => logging.mock.calls.map(([line]) => JSON.parse(String(line)) as Record<string, unknown>);
  const failAt = async (at: number, thrown: unknown = new RangeError('the text of a user'), subject = '') => {
    now = at;
    retries.recordFailure('webhook_queue', thrown, at + 15_000, { subject });
    await Promise.all(works);
  };
  const recordSuccess = (subject?: string) => retries.recordSuccess('webhook_queue', subject);
  return { recordSuccess, hibernate, values, lines, failAt };
}

test('logs a failure with its class, attempt and next try, but not its message', async () => {
  const { lines, failAt } = failing();
  await failAt(0);
  expect(lines()).toEqual([
    {
      object: 'inbox github',
      task: 'webhook_queue',
      error: 'RangeError',
      attempt: 1,
      next_try_at: '1970-01-01T00:00:15.000Z',
    },
  ]);
});

test('logs each cause at most once a minute', async () => {
  const { lines, failAt } = failing();
  for (let at = 0; at <= 4 * MINUTE_MS; at += 15_000) await failAt(at);
  expect(lines()).toHaveLength(5);
  expect(lines().at(-1)).toMatchObject({ attempt: 17 });
  await failAt(4 * MINUTE_MS + 1, createNotFoundError('There is no such thing.'));
  expect(lines().at(-1)).toMatchObject({ error: expect.stringContaining('not_found_error') as unknown });
});

test('reports a task that has failed for ten minutes, then once an hour with the failures since', async () => {
  const { failAt } = failing();
  for (let minute = 0; minute < 10; minute += 1) await failAt(minute * MINUTE_MS);
  expect(reports).toEqual([]);
  for (let minute = 10; minute <= 70; minute += 1) await failAt(minute * MINUTE_MS);
  expect(reports).toEqual([
    { task: 'webhook_queue', since: 0, failures: 11 },
    { task: 'webhook_queue', since: 0, failures: 60 },
  ]);
});

test('repeats a lost report, and forgets a task that has succeeded', async () => {
  const { recordSuccess, failAt } = failing();
  isReachable = false;
  for (let minute = 0; minute <= 12; minute += 1) await failAt(minute * MINUTE_MS);
  isReachable = true;
  await failAt(13 * MINUTE_MS);
  expect(reports).toEqual([{ task: 'webhook_queue', since: 0, failures: 14 }]);
  recordSuccess();
  await failAt(30 * MINUTE_MS);
  await failAt(41 * MINUTE_MS);
  expect(reports.at(-1)).toEqual({ task: 'webhook_queue', since: 30 * MINUTE_MS, failures: 2 });
});

test('reports a subject that keeps failing while others succeed, but not subjects that soon succeed', async () => {
  const { recordSuccess, hibernate, values, failAt } = failing();
  for (let minute = 0; minute <= 10; minute += 1) {
    await failAt(minute * MINUTE_MS, new Error('a'), 'one');
    await failAt(minute * MINUTE_MS + 1, new Error('b'), `other ${minute}`);
    recordSuccess(`other ${minute}`);
    hibernate();
  }
  expect(reports).toEqual([{ task: 'webhook_queue', since: 0, failures: 21 }]);
  recordSuccess('one');
  expect(values.size).toBe(0);
  for (let minute = 11; minute <= 30; minute += 1) {
    await failAt(minute * MINUTE_MS, new Error('b'), `other ${minute}`);
    recordSuccess(`other ${minute}`);
  }
  expect(reports).toHaveLength(1);
});

test('tracks a few of many failing subjects, and reports their task', async () => {
  const { values, failAt } = failing();
  for (let minute = 0; minute <= 10; minute += 1)
    for (let nth = 0; nth < 100; nth += 1) await failAt(minute * MINUTE_MS, new Error('a'), `subject ${nth}`);
  expect(reports).toEqual([{ task: 'webhook_queue', since: 0, failures: 1_001 }]);
  expect(JSON.stringify([...values.values()]).length).toBeLessThan(3_000);
});

test('logs once a minute, and reports after ten minutes, also if the object sleeps between two tries', async () => {
  const { hibernate, lines, failAt } = failing();
  for (let at = 0; at <= 10 * MINUTE_MS; at += 15_000) {
    await failAt(at);
    hibernate();
  }
  expect(lines()).toHaveLength(11);
  expect(lines().at(-1)).toMatchObject({ attempt: 41 });
  expect(reports).toEqual([{ task: 'webhook_queue', since: 0, failures: 41 }]);
  await failAt(11 * MINUTE_MS);
  expect(reports).toHaveLength(1);
});

test('forgets a task that has succeeded after the object slept', async () => {
  const { recordSuccess, hibernate, values, failAt } = failing();
  await failAt(0);
  hibernate();
  recordSuccess();
  expect(values.size).toBe(0);
  hibernate();
  await failAt(10 * MINUTE_MS);
  expect(reports).toEqual([]);
});

test('restarts the count at a failure more than an hour after the task was due', async () => {
  const { hibernate, lines, failAt } = failing();
  await failAt(0);
  hibernate();
  await failAt(61 * MINUTE_MS);
  expect(reports).toEqual([]);
  expect(lines().at(-1)).toMatchObject({ attempt: 1 });
});

test('counts failures in memory while nothing can be stored, and does not throw', async () => {
  const { recordSuccess, failAt } = failing();
  isStorageFull = true;
  for (let minute = 0; minute <= 10; minute += 1) await failAt(minute * MINUTE_MS);
  expect(reports).toEqual([{ task: 'webhook_queue', since: 0, failures: 11 }]);
  recordSuccess();
});
