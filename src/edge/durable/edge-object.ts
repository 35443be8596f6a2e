import { DurableObject } from 'cloudflare:workers';
import { parseSettingsOnce, type Settings } from '../config/settings.ts';
import { logBackgroundFailure } from '../kit/http/log.ts';
import type { Bindings } from '../kit/plugins/bindings.ts';
import { DurableObjectAlarm } from './alarm.ts';
import { RetryTracker } from './retries.ts';

/** What an object passes to the modules that do its work. */
export interface DurableObjectServices {
  readonly env: Bindings;
  readonly alarm: DurableObjectAlarm;
  /** Reports the work that the alarm repeats. */
  readonly retries: RetryTracker;
  /** The clock; milliseconds since 1970. */
  now(): number;
  settings(): Settings;
  waitUntil(work: Promise<unknown>): void;
  /**
   * Resets the object as a crash does: what was written since the last wait is undone, running calls fail, and the next call rebuilds
   * the memory from the rows. Call it when a write has failed and memory may no longer match the rows.
   */
  abortObjectWithMessage(thrown: unknown): void;
  /** Deletes everything stored, and the alarm, in one step. Rows without an alarm would stay for ever. */
  deleteRowsAndAlarm(): Promise<void>;
}

/** The base class of objects with an alarm. Tests replace its clock and settings. */
export abstract class EdgeDurableObject extends DurableObject<Bindings> {
  protected readonly services: DurableObjectServices;

  /** @param grainMs times of the alarm are rounded up to multiples of it */
  constructor(ctx: DurableObjectState, env: Bindings, grainMs?: number) {
    super(ctx, env);
    const getCurrentEnv = () => this.env;
    this.services = {
      get env() {
        return getCurrentEnv();
      },
      alarm: new DurableObjectAlarm(
        ctx.storage,
        () => this.now(),
        (thrown) => this.services.abortObjectWithMessage(thrown),
        grainMs,
      ),
      retries: new RetryTracker(`${new.target.name.toLowerCase()} ${ctx.id.name ?? ''}`, ctx.storage.kv, {
        get env() {
          return getCurrentEnv();
        },
        now: () => this.now(),
        waitUntil: (work) => ctx.waitUntil(work),
      }),
      now: () => this.now(),
      settings: () => this.settings(),
      waitUntil: (work) => ctx.waitUntil(work),
      abortObjectWithMessage: (thrown) => {
        logBackgroundFailure({ object: ctx.id.name ?? '' }, thrown);
        ctx.abort(thrown instanceof Error ? thrown.message : 'a write failed');
      },
      deleteRowsAndAlarm: async () => {
        const deletions = [ctx.storage.deleteAlarm(), ctx.storage.deleteAll()];
        this.services.alarm.markFired();
        this.services.retries.forget();
        try {
          await Promise.all(deletions);
        } catch (thrown) {
          // If a deletion fails, abort the object, so that it restarts with what is stored. Otherwise rows could remain without
          // the alarm that maintains them.
          this.services.abortObjectWithMessage(thrown);
          throw thrown;
        }
      },
    };
    void ctx.blockConcurrencyWhile(() => this.services.alarm.loadAlarmTime());
  }

  protected now(): number {
    return Date.now();
  }

  protected settings(): Settings {
    return parseSettingsOnce(this.env);
  }
}
