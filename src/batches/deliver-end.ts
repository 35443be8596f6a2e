/** Tells whoever wants to know it that a batch has ended: signed, under one id however often it is tried. */

import { deliver, type Target } from '../delivery/deliver.ts';
import { pauseAfter, SCHEDULE } from '../delivery/schedule.ts';
import type { Bindings } from '../durable/bindings.ts';
import { invalidRequest } from '../http/errors.ts';
import { deliverFault } from '../http/hosts.ts';
import type * as z from '../http/zod.ts';
import type { Settings } from '../settings/settings.ts';
import type { batchEnded } from './batches-answers.schema.ts';
import { batchOf, type Journal } from './journal.ts';

type Delivery = NonNullable<Journal['delivery']>;

/**
 * Checks where the end of a batch is to be told.
 *
 * @param url as the caller says it
 * @returns where it is told; undefined where nobody is
 * @throws ApiError 400 for a URL to which nothing is delivered
 */
export function checkedDeliverUrl(url: unknown, settings: Settings): string | undefined {
  if (url === undefined) return settings.BATCH_DELIVER_URL;
  if (typeof url !== 'string') throw invalidRequest('deliver_url: Input should be a valid string');
  const fault = deliverFault(url, settings.development);
  if (fault !== undefined) throw invalidRequest(`deliver_url: it ${fault}`);
  if (!hostsOf(settings).has(URL.parse(url)?.host ?? '') || settings.DELIVERY_SIGNING_SECRET === undefined) {
    throw invalidRequest('deliver_url: its host must be in DELIVER_HOSTS, and DELIVERY_SIGNING_SECRET be set.');
  }
  return url;
}

/** @returns when the end of a batch is told first; nothing where nobody is told. */
export function firstDelivery(journal: Journal, settings: Settings, now: number): { delivery?: Delivery } {
  const { deliverUrl: url = settings.BATCH_DELIVER_URL } = journal;
  return url === undefined || url === null || journal.isErased ? {} : { delivery: { failures: 0, nextAt: now } };
}

/** Tells that a batch has ended. @returns when to try again; undefined where it is told, or given up */
export async function deliverEnd(
  journal: Journal,
  settings: Settings,
  env: Bindings,
  now: number,
): Promise<Delivery | undefined> {
  const result: z.output<typeof batchEnded> = {
    type: 'batch.ended',
    event_id: `evt_${journal.id}`,
    created_at: new Date(journal.endedAt ?? now).toISOString(),
    batch: batchOf(journal, now),
  };
  const failures = journal.delivery?.failures ?? 0;
  return await deliverEnded(result, { url: journal.deliverUrl ?? undefined, failures }, { settings, env, now });
}

/** Tells that something has ended. @returns when to try again; undefined where it is told, or given up */
export async function deliverEnded<Result extends { event_id: string }>(
  result: Result,
  { url: own, failures }: { url: string | undefined; failures: number },
  { settings, env, now }: { settings: Settings; env: Bindings; now: number },
): Promise<Delivery | undefined> {
  const url = own ?? settings.BATCH_DELIVER_URL;
  if (url === undefined) return undefined;
  const target: Target<Result> = { kind: 'url', url, hosts: hostsOf(settings) };
  const failed = await deliver(result, target, {
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

function hostsOf({ DELIVER_HOSTS, BATCH_DELIVER_URL }: Settings): ReadonlySet<string> {
  const own = BATCH_DELIVER_URL === undefined ? [] : [URL.parse(BATCH_DELIVER_URL)?.host ?? ''];
  return new Set([...own, ...DELIVER_HOSTS]);
}
