/**
 * Makes visible what an object's alarm repeats until it succeeds. Nobody waits for such work, so without a log line and a report a
 * failure that lasts stays unknown.
 */

import { HOUR_MS, MINUTE_MS } from '../kit/async/durations.ts';
import { getOrCreate } from '../kit/cache/get-or-create.ts';
import { ApiError } from '../kit/http/errors.ts';
import { logRetry } from '../kit/http/log.ts';
import type { Bindings } from '../kit/plugins/bindings.ts';
import { getSinglePluginMember } from '../kit/plugins/plugins.ts';

/** What the alarms of objects repeat. */
export const RETRIED_TASKS = [
  'account_report',
  'alarm',
  'alert',
  'conversation_report',
  'credential_check',
  'erasure',
  'file',
  'hold_renewal',
  'inbox_announcement',
  'key_check',
  'plugin',
  'pool_report',
  'prefix_release',
  'settlement',
  'turn_event',
  'version_copy',
  'webhook_queue',
] as const;
export type RetriedTaskName = (typeof RETRIED_TASKS)[number];

/** A failure of this task and cause is logged once in this time. Milliseconds. */
const LOG_EVERY_MS = MINUTE_MS;
/** A task that has failed for so long is reported to the operator, and again after each hour. Milliseconds. */
const REPORT_AFTER_MS = 10 * MINUTE_MS;
const REPORT_HOURLY_MS = HOUR_MS;

/** A task that has failed for some time, in one object. */
export interface FailingTask {
  task: RetriedTaskName;
  /** Since when it fails; milliseconds since 1970. */
  since: number;
  /** How often it has failed since the last report. */
  failures: number;
}

declare module '../kit/plugins/plugins.ts' {
  interface Plugin {
    /** Reports a task that keeps failing to the operator. Without it, failures are only logged. Only one plugin may have it. */
    readonly failingTasks?: (env: Bindings, failing: FailingTask) => Promise<void>;
  }
}

interface TaskFailureCount {
  since: number;
  attempts: number;
  unreported: number;
  reportedAt: number;
}

interface RetryTrackerDependencies {
  readonly env: Bindings;
  now(): number;
  waitUntil(work: Promise<unknown>): void;
}

/** Counts what fails in one object, while it is in memory. */
export class RetryTracker {
  readonly #name: string;
  readonly #object: RetryTrackerDependencies;
  readonly #failuresByTask = new Map<RetriedTaskName, TaskFailureCount>();
  /** When a failure was logged last, by its task and cause. */
  readonly #loggedAt = new Map<string, number>();

  /** @param name of the object, for the log */
  constructor(name: string, around: RetryTrackerDependencies) {
    this.#name = name;
    this.#object = around;
  }

  /**
   * Notes that a task has failed and is repeated by the alarm, which the caller sets. Logs the class of the error and never its
   * words, because they may be a user's.
   *
   * @param nextAt when it is tried again; milliseconds since 1970
   * @param attempts how often it was tried, if the rows of the object count that. Default: how often it has failed in memory
   */
  recordFailure(task: RetriedTaskName, thrown: unknown, nextAt: number, attempts?: number): void {
    const now = this.#object.now();
    const failing = getOrCreate(this.#failuresByTask, task, () => ({
      since: now,
      attempts: 0,
      unreported: 0,
      reportedAt: Number.NEGATIVE_INFINITY,
    }));
    failing.attempts = Math.max(failing.attempts + 1, attempts ?? 0);
    failing.unreported += 1;
    const error = getErrorClassName(thrown);
    const cause = `${task} ${error}`;
    if (now - (this.#loggedAt.get(cause) ?? Number.NEGATIVE_INFINITY) >= LOG_EVERY_MS) {
      this.#loggedAt.set(cause, now);
      const { attempts: attempt } = failing;
      logRetry({ object: this.#name, task, error, attempt, next_try_at: new Date(nextAt).toISOString() });
    }
    const isDue = now - failing.since >= REPORT_AFTER_MS && now - failing.reportedAt >= REPORT_HOURLY_MS;
    if (isDue) this.#object.waitUntil(this.#reportFailingTask(task, failing));
  }

  /** Notes that a task has succeeded. */
  recordSuccess(task: RetriedTaskName): void {
    this.#failuresByTask.delete(task);
  }

  /** Reports a task. If that fails, its next failure reports it again. */
  async #reportFailingTask(task: RetriedTaskName, failing: TaskFailureCount): Promise<void> {
    const { since, unreported: failures, reportedAt } = failing;
    failing.reportedAt = this.#object.now();
    try {
      await getSinglePluginMember('failingTasks')?.(this.#object.env, { task, since, failures });
      failing.unreported -= failures;
    } catch {
      failing.reportedAt = reportedAt;
    }
  }
}

function getErrorClassName(thrown: unknown): string {
  if (thrown instanceof ApiError) return `${thrown.name} ${thrown.type}`;
  return thrown instanceof Error ? thrown.name : typeof thrown;
}
