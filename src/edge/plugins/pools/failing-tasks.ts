import { type FailingTask, RETRIED_TASKS, type RetriedTaskName } from '../../durable/retries.ts';
import type { SqlTables } from '../../durable/tables.ts';
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
  /** Whether an alert was raised for this period. */
  isAlerted?: boolean | undefined;
}

type FailingTasksByName = Partial<Record<RetriedTaskName, StoredTask>>;

/** Keeps which tasks of all objects have failed for some time. */
export class FailingTaskStore {
  readonly #tables: Pick<SqlTables, 'readMetaValue' | 'writeMetaValue'>;

  constructor(tables: Pick<SqlTables, 'readMetaValue' | 'writeMetaValue'>) {
    this.#tables = tables;
  }

  /**
   * Adds the report of one object.
   *
   * @returns since when deliveries have failed, if an alert is due for that, once for each period of failures; otherwise undefined
   */
  recordFailingTask({ task, since, failures }: FailingTask, now: number): number | undefined {
    const stored = this.#readStoredTasks;
    const before = stored[task];
    const isCurrent = before !== undefined && now - before.reportedAt < STILL_FAILING_MS;
    const wasAlerted = isCurrent && before.isAlerted === true;
    const isAlertDue = task === 'delivery' && !wasAlerted && now - since >= HOUR_MS;
    const added: StoredTask = {
      since: isCurrent ? Math.min(before.since, since) : since,
      reportedAt: now,
      failures: (before?.failures ?? 0) + failures,
      ...((wasAlerted || isAlertDue) && { isAlerted: true }),
    };
    this.#tables.writeMetaValue(FAILING, JSON.stringify({ ...stored, [task]: added }));
    return isAlertDue ? since : undefined;
  }

  /** @returns the tasks that fail now */
  listFailingTasks(now: number): PoolOverview['failing_tasks'] {
    return Object.entries(this.#readStoredTasks)
      .filter(([, { reportedAt }]) => now - reportedAt < STILL_FAILING_MS)
      .map(([task, { since, reportedAt }]) => ({
        task,
        failing_since: toIsoTime(since),
        last_reported_at: toIsoTime(reportedAt),
      }));
  }

  /** @returns how often each task has failed, as far as it was reported */
  listTaskFailures(): { task: RetriedTaskName; failures: number }[] {
    const stored = this.#readStoredTasks;
    return RETRIED_TASKS.flatMap((task) => (stored[task] ? [{ task, failures: stored[task].failures }] : []));
  }

  get #readStoredTasks(): FailingTasksByName {
    return JSON.parse(this.#tables.readMetaValue(FAILING) ?? '{}') as FailingTasksByName;
  }
}
