import { DurableObject } from 'cloudflare:workers';
import { type Settings, settingsOf } from '../config/settings.ts';
import { logFailure } from '../kit/http/log.ts';
import type { Bindings } from '../kit/plugins/bindings.ts';
import { Alarm } from './alarm.ts';
import { Retries } from './retries.ts';

/** What an object passes to the modules that do its work. */
export interface ObjectServices {
  readonly env: Bindings;
  readonly alarm: Alarm;
  /** Makes visible what the alarm repeats. */
  readonly retries: Retries;
  /** The clock; milliseconds since 1970. */
  now(): number;
  settings(): Settings;
  waitUntil(work: Promise<unknown>): void;
  /**
   * Resets the object as a crash does: what was written since the last wait is undone, running calls fail, and the next call rebuilds
   * the memory from the rows. Call it when a write has failed and memory may no longer match the rows.
   */
  abort(thrown: unknown): void;
  /** Deletes everything stored, and the alarm, in one step. Rows without an alarm would stay for ever. */
  deleteAll(): Promise<void>;
}

/** The base class of objects with an alarm. Tests replace its clock and settings. */
export abstract class EdgeObject extends DurableObject<Bindings> {
  protected readonly services: ObjectServices;

  /** @param grainMs times of the alarm are rounded up to multiples of it */
  constructor(ctx: DurableObjectState, env: Bindings, grainMs?: number) {
    super(ctx, env);
    const currentEnv = () => this.env;
    this.services = {
      get env() {
        return currentEnv();
      },
      alarm: new Alarm(
        ctx.storage,
        () => this.now(),
        (thrown) => this.services.abort(thrown),
        grainMs,
      ),
      retries: new Retries(`${new.target.name.toLowerCase()} ${ctx.id.name ?? ''}`, {
        get env() {
          return currentEnv();
        },
        now: () => this.now(),
        waitUntil: (work) => ctx.waitUntil(work),
      }),
      now: () => this.now(),
      settings: () => this.settings(),
      waitUntil: (work) => ctx.waitUntil(work),
      abort: (thrown) => {
        logFailure({ object: ctx.id.name ?? '' }, thrown);
        ctx.abort(thrown instanceof Error ? thrown.message : 'a write failed');
      },
      deleteAll: async () => {
        const deletions = [ctx.storage.deleteAlarm(), ctx.storage.deleteAll()];
        this.services.alarm.markFired();
        try {
          await Promise.all(deletions);
        } catch (thrown) {
          // Rows that could not be deleted must not stay without their alarm.
          this.services.abort(thrown);
          throw thrown;
        }
      },
    };
    void ctx.blockConcurrencyWhile(() => this.services.alarm.load());
  }

  protected now(): number {
    return Date.now();
  }

  protected settings(): Settings {
    return settingsOf(this.env);
  }
}
