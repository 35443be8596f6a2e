/** Delivers an event to a receiver: signed, with the same id in each try. */

import type { Settings } from '../../gate/settings/settings.ts';
import { invalidRequest } from '../http/errors.ts';
import { deliverFault } from '../http/headers/hosts.ts';
import { isoTime } from '../http/times.ts';
import type { Bindings } from '../objects/bindings.ts';
import type { ObjectJournal, ObjectRecord } from '../objects/object-record.ts';
import { deliver, type Target } from './deliver.ts';
import { pauseAfter, SCHEDULE } from './schedule.ts';

/** A delivery that must be made: how often it has failed, and when it is tried next (milliseconds since 1970). */
export interface PendingDelivery {
  failures: number;
  nextAt: number;
}

/**
 * Checks the member `deliver_url` of a request.
 *
 * @param url the caller's value
 * @param usual the setting for requests that name no URL
 * @returns the URL; undefined if nothing is delivered
 * @throws ApiError 400 for a URL to which deliveries are not allowed
 */
export function checkedDeliverUrl(url: unknown, usual: string | undefined, settings: Settings): string | undefined {
  if (url === undefined) return usual;
  if (typeof url !== 'string') throw invalidRequest('deliver_url: Input should be a valid string');
  const fault = deliverFault(url, settings.development);
  if (fault !== undefined) throw invalidRequest(`deliver_url: it ${fault}`);
  if (!hostsBeside(usual, settings).has(URL.parse(url)?.host ?? '') || settings.DELIVERY_SIGNING_SECRET === undefined) {
    throw invalidRequest('deliver_url: its host must be in DELIVER_HOSTS, and DELIVERY_SIGNING_SECRET be set.');
  }
  return url;
}

/**
 * Delivers an event once.
 *
 * @param to its own URL, and the setting that is used if it has none; how often it has failed
 * @returns when to try again; undefined after a success, or after the last try
 */
export async function deliverEvent<Event extends { event_id: string }>(
  event: Event,
  { url: own, usual, failures }: { url: string | undefined; usual: string | undefined; failures: number },
  { settings, env, now }: { settings: Settings; env: Bindings; now: number },
): Promise<PendingDelivery | undefined> {
  const url = own ?? usual;
  if (url === undefined) return undefined;
  const target: Target<Event> = { kind: 'url', url, hosts: hostsBeside(usual, settings) };
  const failed = await deliver(event, target, {
    env,
    settings,
    fetch: (to, init) => fetch(to, init),
    now,
    timeoutMs: SCHEDULE.deliveryTimeout,
  });
  if (!failed || failed.final) return undefined;
  const pause = pauseAfter(SCHEDULE.delivery, failures + 1);
  return pause === undefined
    ? undefined
    : { failures: failures + 1, nextAt: now + Math.max(pause, failed.retryAfter ?? 0) };
}

/** The journal of something whose end is delivered: a batch. */
interface EndingJournal extends ObjectJournal {
  endedAt?: number;
  /** The address of its own; null if nothing is delivered. Default: BATCH_DELIVER_URL. */
  deliverUrl?: string | null | undefined;
  /** The state of the delivery; absent if nothing is left to deliver. */
  delivery?: PendingDelivery;
}

/** @returns the first time of the delivery of an end; an empty object if nothing is delivered */
export function firstDelivery(record: ObjectRecord<EndingJournal>): Pick<EndingJournal, 'delivery'> {
  const { deliverUrl = record.settings.BATCH_DELIVER_URL ?? null } = record.journal ?? {};
  return deliverUrl === null ? {} : { delivery: { failures: 0, nextAt: record.now } };
}

/** Delivers the event of an end if that is due, and notes when to try again. @param what the members of its own */
export async function deliverEnd<Event extends { type: string; event_id: string; created_at: string }>(
  record: ObjectRecord<EndingJournal>,
  type: Event['type'],
  what: () => Omit<Event, 'type' | 'event_id' | 'created_at'>,
): Promise<void> {
  const { journal, now } = record;
  if (!journal?.delivery || now < journal.delivery.nextAt) return;
  const { id, endedAt = now, deliverUrl, delivery } = journal;
  const { settings, env } = record;
  const event = { type, event_id: `evt_${id}`, created_at: isoTime(endedAt), ...what() };
  const to = { url: deliverUrl ?? undefined, usual: settings.BATCH_DELIVER_URL, failures: delivery.failures };
  record.change({ delivery: await deliverEvent(event, to, { settings, env, now }) });
}

/** @returns the hosts to which deliveries may go: that of the usual URL, and those of the setting */
export function hostsBeside(usual: string | undefined, { DELIVER_HOSTS }: Settings): ReadonlySet<string> {
  const own = usual === undefined ? [] : [URL.parse(usual)?.host ?? ''];
  return new Set([...own, ...DELIVER_HOSTS]);
}
