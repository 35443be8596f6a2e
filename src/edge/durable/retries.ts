/**
 * Reports the work that an object's alarm repeats until it succeeds. No caller waits for such work, so without a log line and a
 * report a lasting failure would stay unknown.
 */

import { HOUR_MS, MINUTE_MS } from '../kit/async/durations.ts';
import { getOrCreate } from '../kit/cache/get-or-create.ts';
import { ApiError } from '../kit/http/errors.ts';
import { logBackgroundFailure, logRetry } from '../kit/http/log.ts';
import type { Bindings } from '../kit/plugins/bindings.ts';
import { getSinglePluginMember } from '../kit/plugins/plugins.ts';

/** The tasks that the alarms of objects repeat. */
export const RETRIED_TASKS = [
  'account_report',
  'alarm',
  'alert',
  'batch',
  'batch_task',
  'change',
  'conversation_report',
  'credential_check',
  'delivery',
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
/** How the keys of stored failures begin. */
const KEY_PREFIX = 'failing_';

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

/** A task whose next failure comes so much later than it was due has not failed all the time. Milliseconds. */
const MAX_DELAY_MS = HOUR_MS;

/** How many subjects of a task are tracked in one object. Failures of others are counted and logged, but not reported. */
const MAX_STREAKS = 20;

/** Failures of one subject of a task without a success in between. */
interface FailureStreak {
  subject: string;
  since: number;
  attempts: number;
  /** When it is tried again. */
  nextAt: number;
}

/** How a task fails. It is stored, because an object that waits for its alarm sleeps and loses its memory. */
interface TaskFailures {
  streaks: FailureStreak[];
  unreported: number;
  /** When it was reported last; null for never. */
  reportedAt: number | null;
  /** When a failure was logged last, by the class of its error. */
  loggedAt: Record<string, number>;
}

/** Which failure of a task it is. */
interface FailureDetails {
  /** What the task is done for, if one object does it for several, so that the success of one does not hide another. No user's text. */
  subject?: string;
  /** How often it was tried, if the rows of the object count that. Default: how often it has failed. */
  attempts?: number;
}

interface RetryTrackerDependencies {
  readonly env: Bindings;
  now(): number;
  waitUntil(work: Promise<unknown>): void;
}

/** Counts what fails in one object. */
export class RetryTracker {
  readonly #name: string;
  readonly #storage: SyncKvStorage;
  readonly #object: RetryTrackerDependencies;
  /** How each task fails, as far as it was asked for; null for one that does not. */
  readonly #failuresByTask = new Map<RetriedTaskName, TaskFailures | null>();

  /** @param name of the object, for the log */
  constructor(name: string, storage: SyncKvStorage, around: RetryTrackerDependencies) {
    this.#name = name;
    this.#storage = storage;
    this.#object = around;
  }

  /**
   * Records that a task has failed and is repeated by the alarm, which the caller sets. Logs the class of the error and never
   * its words, because they may be a user's.
   *
   * @param nextAt when it is tried again; milliseconds since 1970
   */
  recordFailure(
    task: RetriedTaskName,
    thrown: unknown,
    nextAt: number,
    { subject = '', attempts = 0 }: FailureDetails = {},
  ): void {
    const now = this.#object.now();
    const before = this.#read(task);
    const streaks = before?.streaks.filter((one) => now <= one.nextAt + MAX_DELAY_MS) ?? [];
    const failures: TaskFailures =
      before && streaks.length > 0
        ? Object.assign(before, { streaks })
        : { streaks, unreported: 0, reportedAt: null, loggedAt: {} };
    const known = streaks.find((one) => one.subject === subject);
    const streak = known ?? { subject, since: now, attempts: 0, nextAt };
    if (!known && streaks.length < MAX_STREAKS) streaks.push(streak);
    streak.attempts = Math.max(streak.attempts + 1, attempts);
    streak.nextAt = nextAt;
    failures.unreported += 1;
    this.#log(task, failures, streak, getErrorClassName(thrown), now);
    this.#failuresByTask.set(task, failures);
    this.#store(task, failures);
    const isReported = failures.reportedAt !== null && now - failures.reportedAt < REPORT_HOURLY_MS;
    const isDue = now - streak.since >= REPORT_AFTER_MS && !isReported;
    if (isDue) this.#object.waitUntil(this.#reportFailingTask(task, failures, streak.since));
  }

  /** Records that a task has succeeded for a subject. */
  recordSuccess(task: RetriedTaskName, subject = ''): void {
    const failures = this.#read(task);
    if (!failures) return;
    const streaks = failures.streaks.filter((one) => one.subject !== subject);
    if (streaks.length === failures.streaks.length) return;
    const left = streaks.length === 0 ? null : Object.assign(failures, { streaks });
    this.#failuresByTask.set(task, left);
    this.#store(task, left);
  }

  /** Forgets everything. Call it when everything stored is deleted. */
  forget(): void {
    this.#failuresByTask.clear();
  }

  #log(
    task: RetriedTaskName,
    { loggedAt }: TaskFailures,
    { attempts: attempt, nextAt }: FailureStreak,
    error: string,
    now: number,
  ): void {
    const at = loggedAt[error];
    if (at !== undefined && now - at < LOG_EVERY_MS) return;
    loggedAt[error] = now;
    logRetry({ object: this.#name, task, error, attempt, next_try_at: new Date(nextAt).toISOString() });
  }

  /** Reports a task. If that fails, its next failure reports it again. */
  async #reportFailingTask(task: RetriedTaskName, failing: TaskFailures, since: number): Promise<void> {
    const { unreported: failures, reportedAt } = failing;
    // Set the time before the call, so that another failure during the call does not report the task a second time.
    failing.reportedAt = this.#object.now();
    try {
      await getSinglePluginMember('failingTasks')?.(this.#object.env, { task, since, failures });
      failing.unreported -= failures;
    } catch {
      failing.reportedAt = reportedAt;
    }
    if (this.#failuresByTask.get(task) === failing) this.#store(task, failing);
  }

  #read(task: RetriedTaskName): TaskFailures | null {
    return getOrCreate(this.#failuresByTask, task, () => this.#storage.get<TaskFailures>(KEY_PREFIX + task) ?? null);
  }

  /** Stores how a task fails. Only the log and the report need it, so a write that fails must not end what the caller does. */
  #store(task: RetriedTaskName, failing: TaskFailures | null): void {
    try {
      if (failing) this.#storage.put(KEY_PREFIX + task, failing);
      else this.#storage.delete(KEY_PREFIX + task);
    } catch (thrown) {
      logBackgroundFailure({ object: this.#name }, thrown);
    }
  }
}

function getErrorClassName(thrown: unknown): string {
  if (thrown instanceof ApiError) return `${thrown.name} ${thrown.type}`;
  return thrown instanceof Error ? thrown.name : typeof thrown;
}
