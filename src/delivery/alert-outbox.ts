/**
 * Alerts on their way from the object that has something to tell to the inbox of all alerts, which delivers and lists
 * them.
 *
 * An alert is stored with what it tells of, in the same step. It leaves once the inbox has it; the object's alarm repeats
 * what did not reach the inbox. The inbox keeps each id once: so an alert is neither lost nor told twice, whatever dies.
 */

import type { Alert, AlertBody } from '../alerts/alerts-answers.schema.ts';
import { within } from '../async/timeout.ts';
import type { Bindings } from '../durable/bindings.ts';
import type { Surroundings } from '../durable/edge-object.ts';
import { inboxStub } from '../durable/stubs.ts';
import type { Tables } from '../durable/tables.ts';
import { sha256Hex, utf8 } from '../http/bytes.ts';
import { settingsOf } from '../settings/settings.ts';
import type { Target } from './deliver.ts';

/** The name of the inbox of alerts, and the beginning of their ids: no source of webhooks can have it. */
export const ALERT_SOURCE = 'alert';

const RETRY_MS = 10_000;
/** Alarms of alerts are rounded up to it, whatever the grain of their object is. */
const ALERT_GRAIN_MS = 1_000;
const ALERT_CALL_MS = 20_000;
const OUTBOX_KEY = 'alerts';

/** In place of an account's name, for alerts that no account is erased with. */
export const OF_NO_ACCOUNT = '';

/** An alert that is due, with what makes it the same as another. */
export interface DueAlert {
  /** Alerts with the same key are one, and told once. */
  key: string;
  /** From when on the key cannot come again, in milliseconds since 1970. */
  until: number;
  alert: Alert;
}

interface Stored {
  /** With the account that each is erased with. */
  due: (DueAlert & { account: string })[];
  /** Keys that were told, and from when on each cannot come again. */
  told: Record<string, number>;
}

/** Keeps the alerts that an object has to tell. */
export class AlertOutbox {
  readonly #tables: Pick<Tables, 'meta' | 'setMeta'>;
  readonly #around: Surroundings;
  #stored: Stored;
  #sending: Promise<void> | undefined;

  constructor(tables: Pick<Tables, 'meta' | 'setMeta'>, around: Surroundings) {
    this.#tables = tables;
    this.#around = around;
    this.#stored = JSON.parse(tables.meta(OUTBOX_KEY) ?? '{"due":[],"told":{}}') as Stored;
  }

  /**
   * Stores alerts that are new, and begins to tell them. Call it in the step that stores what they tell of.
   *
   * @param account they are erased with this account; `OF_NO_ACCOUNT` where they are of none
   */
  raise(alerts: readonly DueAlert[], account: string): void {
    const { due, told } = this.#stored;
    const added = alerts.filter(({ key }) => told[key] === undefined && !due.some((one) => one.key === key));
    if (added.length === 0) return;
    const now = this.#around.now();
    const kept = Object.fromEntries(Object.entries(told).filter(([, until]) => until > now));
    this.#save({ due: [...due, ...added.map((one) => ({ ...one, account }))], told: kept });
    // Set first: if the object dies while the inbox is told, the alarm still comes.
    this.#around.alarm.wakeFor(now + RETRY_MS, ALERT_GRAIN_MS);
    this.#around.waitUntil(this.send());
  }

  /** Tells the inbox what it has not confirmed; the alarm calls this again. It never throws. */
  async send(): Promise<void> {
    if (this.#stored.due.length === 0) return;
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = undefined;
    });
    await this.#sending;
  }

  async #sendAll(): Promise<void> {
    for (;;) {
      const [next] = this.#stored.due;
      if (!next) return;
      try {
        await within(this.#tell(next), ALERT_CALL_MS);
      } catch {
        this.#around.alarm.wakeFor(this.#around.now() + RETRY_MS, ALERT_GRAIN_MS);
        return;
      }
      const { due, told } = this.#stored;
      this.#save({ due: due.filter(({ key }) => key !== next.key), told: { ...told, [next.key]: next.until } });
    }
  }

  async #tell({ key, alert, account }: Stored['due'][number]): Promise<void> {
    const { env } = this.#around;
    const id = `${ALERT_SOURCE}_${(await sha256Hex(utf8(key))).slice(0, 32)}`;
    const body: AlertBody = { type: 'alert', event_id: id, ...alert };
    const text = JSON.stringify(body);
    const event = { id, account, text, subject: null, digest: `sha256:${await sha256Hex(utf8(text))}` };
    await inboxStub(env, settingsOf(env), ALERT_SOURCE).acceptAlert(event);
  }

  #save(stored: Stored): void {
    this.#stored = stored;
    this.#tables.setMeta(OUTBOX_KEY, JSON.stringify(stored));
  }
}

/** @returns whether alerts are delivered: then what goes wrong is told too. Settings that cannot be read are told elsewhere. */
export function hasAlertUrl(env: Bindings): boolean {
  try {
    return settingsOf(env).ALERT_URL !== undefined;
  } catch {
    return false;
  }
}

/** @returns where alerts go; undefined where they are kept alone. */
export function alertTarget({ ALERT_URL }: { ALERT_URL?: string | undefined }): Target<AlertBody> | undefined {
  if (ALERT_URL === undefined) return undefined;
  return { kind: 'url', url: ALERT_URL, hosts: new Set([URL.parse(ALERT_URL)?.host ?? '']) };
}
