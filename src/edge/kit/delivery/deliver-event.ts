/** Delivers an event to a receiver: signed, with the same id in each attempt. */

import { createInvalidRequestError } from '../http/errors.ts';
import { findDeliverUrlFault } from '../http/headers/hosts.ts';
import type { Bindings } from '../plugins/bindings.ts';
import { type DeliveryFailure, type DeliverySettings, type DeliveryTarget, deliverResultOnce } from './deliver.ts';
import { findRetryPauseMs, SCHEDULE } from './schedule.ts';

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
export function validateDeliverUrl(
  url: unknown,
  usual: string | undefined,
  settings: DeliverySettings,
): string | undefined {
  if (url === undefined) return usual;
  if (typeof url !== 'string') throw createInvalidRequestError('deliver_url: Input should be a valid string');
  const fault = findDeliverUrlFault(url, settings.development);
  if (fault !== undefined) throw createInvalidRequestError(`deliver_url: ${fault}`);
  if (
    !getAllowedHosts(usual, settings).has(URL.parse(url)?.host ?? '') ||
    settings.DELIVERY_SIGNING_SECRET === undefined
  ) {
    throw createInvalidRequestError(
      'deliver_url: the operator must add its host to DELIVER_HOSTS, and set DELIVERY_SIGNING_SECRET.',
    );
  }
  return url;
}

/** A failed delivery. Logs contain its name. */
class DeliveryFailedError extends Error {
  constructor({ type, message, status }: DeliveryFailure) {
    super(message);
    this.name = `DeliveryFailedError ${status ?? type}`;
  }
}

/** The outcome of one delivery attempt. */
export interface DeliveryAttempt {
  /** Why it has failed; undefined after a success. */
  failure?: DeliveryFailedError;
  /** When to try again; undefined after a success, or after the last attempt. */
  again?: PendingDelivery;
}

/**
 * Delivers an event once. It never throws.
 *
 * @param to its own URL, and the setting that is used if it has none; how often it has failed
 */
export async function deliverEventOnce<Event extends { event_id: string }>(
  event: Event,
  { url: own, usual: defaultUrl, failures }: { url: string | undefined; usual: string | undefined; failures: number },
  { settings, env, now }: { settings: DeliverySettings; env: Bindings; now: number },
): Promise<DeliveryAttempt> {
  const url = own ?? defaultUrl;
  if (url === undefined) return {};
  const target: DeliveryTarget<Event> = { kind: 'url', url, hosts: getAllowedHosts(defaultUrl, settings) };
  const failed = await deliverResultOnce(event, target, {
    env,
    settings,
    fetch: (to, init) => fetch(to, init),
    now,
    timeoutMs: SCHEDULE.deliveryTimeout,
  });
  if (!failed) return {};
  const failure = new DeliveryFailedError(failed);
  const pause = findRetryPauseMs(SCHEDULE.delivery, failures + 1);
  if (failed.final || pause === undefined) return { failure };
  return { failure, again: { failures: failures + 1, nextAt: now + Math.max(pause, failed.retryAfter ?? 0) } };
}

/** @returns the hosts to which deliveries may go: that of the usual URL, and those of the setting */
export function getAllowedHosts(usual: string | undefined, { DELIVER_HOSTS }: DeliverySettings): ReadonlySet<string> {
  const own = usual === undefined ? [] : [URL.parse(usual)?.host ?? ''];
  return new Set([...own, ...DELIVER_HOSTS]);
}
