/** Sends the event about the end of a batch to the address that the batch names. */

import { deliverEventOnce } from '../../kit/delivery/deliver-event.ts';
import { toIsoTime } from '../../kit/http/times.ts';
import type { BatchJournalStore } from './batch-record.ts';
import type { Journal } from './journal.ts';

/** @returns the first time of the delivery of an end; an empty object if nothing is delivered */
export function scheduleFirstDelivery(record: BatchJournalStore): Pick<Journal, 'delivery'> {
  const { deliverUrl = record.settings.BATCH_DELIVER_URL ?? null } = record.currentJournal ?? {};
  return deliverUrl === null ? {} : { delivery: { failures: 0, nextAt: record.now } };
}

/** Delivers the event of an end if it is due, and stores when to try again. @param what the event's own members */
export async function deliverBatchEndEvent<Event extends { type: string; event_id: string; created_at: string }>(
  record: BatchJournalStore,
  type: Event['type'],
  what: () => Omit<Event, 'type' | 'event_id' | 'created_at'>,
): Promise<void> {
  const { currentJournal: journal, now } = record;
  if (!journal?.delivery || now < journal.delivery.nextAt) return;
  const { id, endedAt = now, deliverUrl, delivery } = journal;
  const { settings, env } = record;
  const event = { type, event_id: `evt_${id}`, created_at: toIsoTime(endedAt), ...what() };
  const to = { url: deliverUrl ?? undefined, usual: settings.BATCH_DELIVER_URL, failures: delivery.failures };
  const { failure, again } = await deliverEventOnce(event, to, { settings, env, now });
  if (again) record.recordFailure('delivery', failure, again.nextAt);
  else if (!failure) record.recordSuccess('delivery');
  record.updateJournal({ delivery: again });
}
