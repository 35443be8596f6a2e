/** Tells the end of a batch to the address that it names. */

import { deliverEvent, type PendingDelivery } from '../../kit/delivery/deliver-event.ts';
import { isoTime } from '../../kit/http/times.ts';
import type { ObjectJournal, ObjectRecord } from './object-record.ts';

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
