/**
 * Sends alerts from the object that raises them to the inbox of all alerts, which delivers and lists them.
 *
 * An alert is stored in the same step as the change that it reports. It is deleted once the inbox has it. Until then the
 * object's alarm sends it again. The inbox keeps each id once. So a crash neither loses an alert nor sends it twice.
 */

import { parseSettingsOnce } from '../../config/settings.ts';
import type { DurableObjectServices } from '../../durable/edge-object.ts';
import type { SqlTables } from '../../durable/tables.ts';
import { waitWithTimeout } from '../../kit/async/timeout.ts';
import type { DeliveryTarget } from '../../kit/delivery/deliver.ts';
import { encodeUtf8, sha256Hex } from '../../kit/http/bytes.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';
import { getSinglePluginMember } from '../../kit/plugins/plugins.ts';
import { ALERT_SOURCE } from './alert-source.ts';
import type { Alert, AlertBody } from './alerts-answers.schema.ts';

const RETRY_MS = 10_000;
/** Alarm times for alerts are rounded up to multiples of this, whatever the grain of their object is. Milliseconds. */
const ALERT_GRAIN_MS = 1_000;
const ALERT_CALL_MS = 20_000;
const OUTBOX_KEY = 'alerts';

/** Replaces an account's name, for alerts that belong to no account and are not erased with one. */
export const UNOWNED = '';

/** An alert to raise, with the key by which a repetition is recognized. */
export interface AlertToRaise {
  /** Alerts with the same key are one alert, which is sent once. */
  key: string;
  /** The time after which the key cannot occur again, in milliseconds since 1970. */
  until: number;
  alert: Alert;
}

/** An alert on its way to the inbox of all. */
interface AlertInTransit {
  id: string;
  /** The account with which the alert is erased. */
  account: string;
  text: string;
  subject: null;
  digest: string;
}

declare module '../../kit/plugins/plugins.ts' {
  interface Plugin {
    /** Stores an alert and delivers it. Without it, alerts are dropped. Only one plugin may have it. */
    readonly alertInbox?: (env: Bindings, alert: AlertInTransit) => Promise<void>;
  }
}

interface StoredAlertOutbox {
  /** Alerts to send, each with the account with which it is erased. */
  due: (AlertToRaise & { account: string })[];
  /** Keys of sent alerts, each with the time after which it cannot occur again. */
  told: Record<string, number>;
}

/** Keeps the alerts that an object must send. */
export class AlertOutbox {
  readonly #tables: Pick<SqlTables, 'readMetaValue' | 'writeMetaValue'>;
  readonly #surroundings: DurableObjectServices;
  #stored: StoredAlertOutbox;
  #sending: Promise<void> | undefined;

  constructor(tables: Pick<SqlTables, 'readMetaValue' | 'writeMetaValue'>, around: DurableObjectServices) {
    this.#tables = tables;
    this.#surroundings = around;
    this.#stored = JSON.parse(tables.readMetaValue(OUTBOX_KEY) ?? '{"due":[],"told":{}}') as StoredAlertOutbox;
  }

  /**
   * Stores new alerts, and begins to send them. Call it in the step that stores what they report.
   *
   * @param account the account with which they are erased; `UNOWNED` if they belong to none
   */
  storeAndSendAlerts(alerts: readonly AlertToRaise[], account: string): void {
    const { due, told } = this.#stored;
    const added = alerts.filter(({ key }) => told[key] === undefined && !due.some((one) => one.key === key));
    if (added.length === 0) return;
    const now = this.#surroundings.now();
    const current = Object.fromEntries(Object.entries(told).filter(([, until]) => until > now));
    // Set the alarm before the row is written, so that the alerts are sent later if the object dies during the call to the
    // inbox.
    this.#surroundings.alarm.scheduleAt(now + RETRY_MS, ALERT_GRAIN_MS);
    this.#saveOutbox({ due: [...due, ...added.map((one) => ({ ...one, account }))], told: current });
    this.#surroundings.waitUntil(this.sendUnconfirmedAlerts());
  }

  /** Sends the alerts that the inbox has not confirmed. The alarm calls it again. It never throws. */
  async sendUnconfirmedAlerts(): Promise<void> {
    if (this.#stored.due.length === 0) return;
    this.#sending ??= this.#sendAllAlerts().finally(() => {
      this.#sending = undefined;
    });
    await this.#sending;
  }

  async #sendAllAlerts(): Promise<void> {
    for (;;) {
      const [next] = this.#stored.due;
      if (!next) return;
      try {
        await sendAlertToInbox(this.#surroundings.env, next);
      } catch (thrown) {
        const nextAt = this.#surroundings.now() + RETRY_MS;
        this.#surroundings.alarm.scheduleAt(nextAt, ALERT_GRAIN_MS);
        this.#surroundings.retries.recordFailure('alert', thrown, nextAt);
        return;
      }
      this.#surroundings.retries.recordSuccess('alert');
      const { due, told } = this.#stored;
      this.#saveOutbox({ due: due.filter(({ key }) => key !== next.key), told: { ...told, [next.key]: next.until } });
    }
  }

  #saveOutbox(stored: StoredAlertOutbox): void {
    this.#tables.writeMetaValue(OUTBOX_KEY, JSON.stringify(stored));
    this.#stored = stored;
  }
}

/** Sends an alert to the inbox of all, which keeps each key once. @param account with which it is erased */
export async function sendAlertToInbox(
  env: Bindings,
  { key, alert, account }: StoredAlertOutbox['due'][number],
): Promise<void> {
  const keep = getSinglePluginMember('alertInbox');
  if (!keep) return;
  const id = `${ALERT_SOURCE}_${(await sha256Hex(encodeUtf8(key))).slice(0, 32)}`;
  const body: AlertBody = { type: 'alert', event_id: id, ...alert };
  const text = JSON.stringify(body);
  const event = { id, account, text, subject: null, digest: `sha256:${await sha256Hex(encodeUtf8(text))}` };
  await waitWithTimeout(keep(env, event), ALERT_CALL_MS);
}

/** @returns whether alerts are delivered: then failures raise alerts, too. (Unreadable settings are reported elsewhere.) */
export function areAlertsDelivered(env: Bindings): boolean {
  try {
    return parseSettingsOnce(env).ALERT_URL !== undefined;
  } catch {
    return false;
  }
}

/** @returns where alerts are delivered; undefined if they are only kept. */
export function getAlertTarget({
  ALERT_URL,
}: {
  ALERT_URL?: string | undefined;
}): DeliveryTarget<AlertBody> | undefined {
  if (ALERT_URL === undefined) return undefined;
  return { kind: 'url', url: ALERT_URL, hosts: new Set([URL.parse(ALERT_URL)?.host ?? '']) };
}
