import { type FailingTask, RETRIED_TASKS, type RetriedTask } from '../../durable/retries.ts';
import type { Tables } from '../../durable/tables.ts';
import { HOUR_MS } from '../../kit/async/durations.ts';
import { toIsoTime } from '../../kit/http/times.ts';
import type { PoolOverview } from './contracts/pool.ts';

/** The key in `meta` with what objects have reported, by task. */
const FAILING = 'failing_tasks';
/** A failing task is reported once an hour, so one without a report for longer has succeeded, or its object is gone. */
const STILL_FAILING_MS = 2 * HOUR_MS;

interface StoredTask {
  /** Since when it fails without a pause; milliseconds since 1970. */
  since: number;
  reportedAt: number;
  /** Failures in all reports. */
  failures: number;
}

type StoredTasks = Partial<Record<RetriedTask, StoredTask>>;

/** Keeps which tasks of all objects have failed for some time. */
export class FailingTasks {
  readonly #tables: Pick<Tables, 'meta' | 'setMeta'>;

  constructor(tables: Pick<Tables, 'meta' | 'setMeta'>) {
    this.#tables = tables;
  }

  /** Adds the report of one object. */
  note({ task, since, failures }: FailingTask, now: number): void {
    const stored = this.#stored;
    const before = stored[task];
    const isCurrent = before !== undefined && now - before.reportedAt < STILL_FAILING_MS;
    const added: StoredTask = {
      since: isCurrent ? Math.min(before.since, since) : since,
      reportedAt: now,
      failures: (before?.failures ?? 0) + failures,
    };
    this.#tables.setMeta(FAILING, JSON.stringify({ ...stored, [task]: added }));
  }

  /** @returns the tasks that fail now */
  current(now: number): PoolOverview['failing_tasks'] {
    return Object.entries(this.#stored)
      .filter(([, { reportedAt }]) => now - reportedAt < STILL_FAILING_MS)
      .map(([task, { since, reportedAt }]) => ({
        task,
        failing_since: toIsoTime(since),
        last_reported_at: toIsoTime(reportedAt),
      }));
  }

  /** @returns how often each task has failed, as far as it was reported */
  totals(): { task: RetriedTask; failures: number }[] {
    const stored = this.#stored;
    return RETRIED_TASKS.flatMap((task) => (stored[task] ? [{ task, failures: stored[task].failures }] : []));
  }

  get #stored(): StoredTasks {
    return JSON.parse(this.#tables.meta(FAILING) ?? '{}') as StoredTasks;
  }
}
