/** Delivers the event that a batch has ended. */

import { deliverEvent, type PendingDelivery } from '../delivery/deliver-event.ts';
import type { Bindings } from '../durable/bindings.ts';
import type * as z from '../http/zod.ts';
import type { Settings } from '../settings/settings.ts';
import type { batchEnded } from './batches-answers.schema.ts';
import { batchOf, type Journal } from './journal.ts';

/** @returns the first time of the delivery; an empty object if nothing is delivered. */
export function firstDelivery(journal: Journal, settings: Settings, now: number): { delivery?: PendingDelivery } {
  const { deliverUrl: url = settings.BATCH_DELIVER_URL } = journal;
  return url === undefined || url === null || journal.isErased ? {} : { delivery: { failures: 0, nextAt: now } };
}

/** Delivers the event that a batch has ended. @returns when to try again; undefined after a success, or after the last try */
export async function deliverEnd(
  journal: Journal,
  settings: Settings,
  env: Bindings,
  now: number,
): Promise<PendingDelivery | undefined> {
  const result: z.output<typeof batchEnded> = {
    type: 'batch.ended',
    event_id: `evt_${journal.id}`,
    created_at: new Date(journal.endedAt ?? now).toISOString(),
    batch: batchOf(journal, now),
  };
  const failures = journal.delivery?.failures ?? 0;
  const to = { url: journal.deliverUrl ?? undefined, usual: settings.BATCH_DELIVER_URL, failures };
  return await deliverEvent(result, to, { settings, env, now });
}
