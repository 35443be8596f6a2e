/** Delivers a result: signed, always with the same id, and only to hosts that the operator has allowed. */

import { findDeliverUrlFault } from '../http/headers/hosts.ts';
import { stringifyWithRememberedTexts } from '../json/remembered-text.ts';
import type { Bindings } from '../plugins/bindings.ts';
import { createStandardWebhookHeaders } from './standard-webhooks.ts';

/** The settings of a deployment that deliveries go by. */
export interface DeliverySettings {
  /** On a developer's machine `http` is allowed. */
  readonly development: boolean;
  readonly DELIVER_HOSTS: readonly string[];
  readonly DELIVERY_SIGNING_SECRET?: string | undefined;
}

/** A function that receives results. If it throws, the delivery has failed and is tried again. */
export type DeliveryFunction<Result> = (
  result: Result,
  context: {
    /** The same id for each delivery of the same result. */
    id: string;
    env: Bindings;
    /** Aborted when the time for a delivery is over. */
    signal: AbortSignal;
  },
) => Promise<void>;

/** The destination of a source's results. */
export type DeliveryTarget<Result> =
  | { kind: 'function'; deliver: DeliveryFunction<Result> }
  | { kind: 'url'; url: string; hosts: ReadonlySet<string> };

/** Why a delivery has failed. */
export interface DeliveryFailure {
  type: string;
  message: string;
  /** What the receiver answered. */
  status?: number;
  /** Milliseconds that the receiver asks to wait before the next attempt. */
  retryAfter?: number;
  /** Whether the receiver wants no other attempt. */
  final?: boolean;
}

export interface DeliveryOptions {
  env: Bindings;
  settings: DeliverySettings;
  fetch: (url: string, init: RequestInit) => Promise<Response>;
  /** Milliseconds since 1970. */
  now: number;
  timeoutMs: number;
}

type UrlDeliveryTarget = Extract<DeliveryTarget<unknown>, { kind: 'url' }>;

/** The type of a failure whose message is the Worker's own, which may quote the result. */
export const DELIVERY_FUNCTION_ERROR = 'delivery_function_error';
const MAX_RETRY_AFTER_MS = 24 * 60 * 60_000;

/**
 * Delivers a result once. It never throws.
 *
 * @returns why it failed; undefined when the receiver has taken the result
 */
export async function deliverResultOnce<Result extends { event_id: string }>(
  result: Result,
  target: DeliveryTarget<Result>,
  options: DeliveryOptions,
): Promise<DeliveryFailure | undefined> {
  const signal = AbortSignal.timeout(options.timeoutMs);
  try {
    return target.kind === 'function'
      ? await callDeliveryFunction(result, target.deliver, options, signal)
      : await postResult(result, target, options, signal);
  } catch (thrown) {
    if (signal.aborted) return { type: 'timeout_error', message: `No response within ${options.timeoutMs} ms.` };
    // Do not return the message of a network error: it may contain the URL, which may contain a secret.
    if (target.kind === 'url')
      return { type: 'api_error', message: `${describeReceiver(target)} could not be reached.` };
    const reason = thrown instanceof Error ? thrown.message.slice(0, 500) : 'The delivery function threw an error.';
    return { type: DELIVERY_FUNCTION_ERROR, message: reason };
  }
}

async function callDeliveryFunction<Result extends { event_id: string }>(
  result: Result,
  take: Extract<DeliveryTarget<Result>, { kind: 'function' }>['deliver'],
  { env, timeoutMs }: DeliveryOptions,
  signal: AbortSignal,
): Promise<DeliveryFailure | undefined> {
  const late = new Promise<DeliveryFailure>((resolve) => {
    const message = `The response did not end within ${timeoutMs} ms.`;
    signal.addEventListener('abort', () => resolve({ type: 'timeout_error', message }), { once: true });
  });
  // A Worker's delivery function may ignore the signal, so race it against the timeout.
  return await Promise.race([take(result, { id: result.event_id, env, signal }).then(() => undefined), late]);
}

async function postResult(
  result: { event_id: string },
  target: UrlDeliveryTarget,
  { settings, fetch, now }: DeliveryOptions,
  signal: AbortSignal,
): Promise<DeliveryFailure | undefined> {
  const { url, hosts } = target;
  const receiver = describeReceiver(target);
  const fault = findTargetUrlFault(url, hosts, settings);
  if (fault !== undefined) return { type: 'invalid_request_error', message: `The deliver URL ${fault}.` };
  const secret = settings.DELIVERY_SIGNING_SECRET;
  if (secret === undefined) {
    return {
      type: 'api_error',
      message: 'DELIVERY_SIGNING_SECRET is not set, and unsigned deliveries are not supported.',
    };
  }
  const body = stringifyWithRememberedTexts(result);
  const headers = await createStandardWebhookHeaders(body, secret, result.event_id, now);
  headers.set('content-type', 'application/json');
  headers.set('user-agent', 'sluice');
  const response = await fetch(url, { method: 'POST', headers, body, redirect: 'manual', signal });
  await response.body?.cancel();
  const { status } = response;
  if (status >= 200 && status < 300) return undefined;
  const gone = status === 410;
  const wait = Number(response.headers.get('retry-after') ?? 'none') * 1_000;
  return {
    type: 'api_error',
    message: gone ? `${receiver} accepts no more deliveries (410).` : `${receiver} answered ${status}.`,
    status,
    ...(gone ? { final: true } : {}),
    ...(wait > 0 ? { retryAfter: Math.min(wait, MAX_RETRY_AFTER_MS) } : {}),
  };
}

/** @returns the receiver by its host, which DELIVER_HOSTS names too: the rest of the URL may be secret */
function describeReceiver({ url }: UrlDeliveryTarget): string {
  return `The receiver ${URL.parse(url)?.host ?? ''}`.trim();
}

function findTargetUrlFault(
  url: string,
  hosts: ReadonlySet<string>,
  { development }: DeliverySettings,
): string | undefined {
  const fault = findDeliverUrlFault(url, development);
  if (fault !== undefined) return fault;
  return hosts.has(URL.parse(url)?.host ?? '') ? undefined : 'has a host that is not in DELIVER_HOSTS';
}
