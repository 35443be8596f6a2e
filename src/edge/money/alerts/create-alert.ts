/** Creates the alerts. */

import { findKeyRemedy } from '../../claude/key-remedy.ts';
import { toUsd } from '../../claude/pricing/cost.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import { findCalendarWindowAt, formatCalendarWindowId } from '../budget/windows.ts';
import type { CredentialClaims } from '../contracts/admission.ts';
import type { AlertToRaise } from './alert-outbox.ts';
import type { Alert } from './alerts-answers.schema.ts';

/** The remedy for each kind of alert, and who can apply it. */
const TODO_BY_KIND: Readonly<Record<Alert['kind'], string>> = {
  threshold:
    'An admin can find the spender with GET /usage?group_by=account or group_by=model, limit this account (PATCH /accounts/:id/limits), and then raise the limit (PATCH …/limits).',
  over_hold: 'An admin can compare the request’s cost (GET /usage/requests/:request_id) with Anthropic’s Console.',
  webhook_parked: 'The operator must fix the receiver. An admin can then replay the event (POST …/replay).',
  batch_unknown: 'The operator must look for the batch in the Claude Console, and cancel it there if it exists.',
  batch_missing: 'The operator must look for the batch in the Claude Console.',
  key_refused: 'The operator must follow the `todo` of GET /health.',
  key_works: 'Nothing to do.',
  key_nearly_limited:
    'When nothing remains, the upstream rejects requests with a 429 until fewer are sent; GET /overview counts these requests. The operator can ask for higher rate limits, or add another upstream (UPSTREAMS). An admin can set input_tokens_per_minute and output_tokens_per_minute of accounts (PATCH /accounts/:id/limits).',
  upstream_failing:
    'The operator can check the upstream’s status page, and add another upstream (UPSTREAMS) to keep requests working. If UPSTREAMS is set, an admin can also allow fallback_models for accounts (PATCH /accounts/:id/limits).',
  upstream_works: 'Nothing to do.',
  webhook_undelivered:
    'The operator must fix the receiver. Sluice then delivers the events with the next retry (for about sixteen hours). To deliver those of a webhook at once, an admin can replay them (POST /webhooks/:source/events/replay).',
  run_expensive:
    'When the limit is spent, Sluice rejects the account’s requests until the window ends. An admin can read the conversation’s requests (GET /usage/requests?account=…), and lower or raise the account’s limits (PATCH /accounts/:id/limits). The account’s user can stop or delete the conversation.',
  token_new_country:
    'An admin can look at GET /tokens/:jti. If the token’s owner does not know the use, revoke it, and mint another one.',
  disk_full: 'The operator must free disk space, or delete data of the full Durable Object. The log names the object.',
};

/** The remedy for an upstream that fails while others answer its requests. */
const REROUTED_TODO =
  'No user is affected. Sluice tries the upstream again by itself. The operator can check the upstream’s status page.';

/** Alerts of parked events are remembered for a day. A parked event has ended, so the same alert cannot come again. */
const PARKED_MS = DAY_MS;

const DEPLOYMENT = { type: 'deployment', id: 'deployment' } as const;

/** How much is left of a rate limit that a key has for a class of models. */
interface KeyLimit {
  /** The upstream's name; empty for the only upstream. */
  upstream: string;
  model_class: string;
  kind: string;
  limit: number;
  remaining: number;
}

/**
 * @param spent if nothing is left: when the limit resets, in milliseconds since 1970; undefined if it does not
 * @returns what happens once a limit in USD is spent, and what an admin can do
 */
export function describeLimitTodo({ type, id }: Alert['node'], spent?: { resetsAt: number | undefined }): string {
  const todo =
    type === 'account'
      ? `An admin can read what was spent (GET /usage?account=${id}&group_by=model), and raise the limit (PATCH /accounts/${id}/limits).`
      : TODO_BY_KIND.threshold.replace('…', type === 'deployment' ? '/pools/deployment' : `/${type}s/${id}`);
  if (!spent) return todo;
  const who = type === 'deployment' ? 'Requests of all accounts' : `Requests of this ${type}`;
  const until = spent.resetsAt === undefined ? '' : ` until ${new Date(spent.resetsAt).toISOString()}`;
  return `${who} are rejected${until}. ${todo}`;
}

/** @returns an alert. What the last argument leaves out is null. @param keyParts with the kind its key, the same for the same alert */
export function createDueAlert(
  kind: Alert['kind'],
  node: Alert['node'],
  now: number,
  until: number,
  keyParts: readonly unknown[],
  more: Partial<Alert>,
): AlertToRaise {
  const created_at = new Date(now).toISOString();
  const nothing = { limit: null, window: null, threshold: null, limit_usd: null, settled_usd: null, subject: null };
  const alert = { kind, node, created_at, ...nothing, todo: TODO_BY_KIND[kind], ...more };
  return { key: JSON.stringify([kind, ...keyParts]), until, alert };
}

/** @returns the alert that a request cost more than was set aside for it. There is at most one per node and day. */
export function createOverHoldAlert(node: Alert['node'], requestId: string, now: number): AlertToRaise {
  const { start, end } = findCalendarWindowAt('day', now);
  const window = formatCalendarWindowId('day', start);
  return createDueAlert('over_hold', node, now, end, [node.type, node.id, window], { window, subject: requestId });
}

/**
 * @returns the alert that an event of a webhook is not tried any more. It comes again if a replay of the event fails, too.
 */
export function createDeadLetterAlert(source: string, eventId: string, runs: number, now: number): AlertToRaise {
  const node = { type: 'webhook' as const, id: source };
  return createDueAlert('webhook_parked', node, now, now + PARKED_MS, [eventId, runs], { subject: eventId });
}

/** @returns the alert that nobody knows whether the upstream has made a batch. It comes once for each. */
export function createUnknownBatchAlert(account: string, batch: string, now: number): AlertToRaise {
  return createDueAlert('batch_unknown', { type: 'account', id: account }, now, now, [batch], { subject: batch });
}

/** @returns the alert that the upstream does not know a batch that it has made. It comes once for each. */
export function createMissingBatchAlert(account: string, batch: string, now: number): AlertToRaise {
  return createDueAlert('batch_missing', { type: 'account', id: account }, now, now, [batch], { subject: batch });
}

/** @returns the alert that a token is used from a country for the first time. It comes once for each country of a token. */
export function createNewCountryAlert(
  account: string,
  { jti = '', location }: CredentialClaims,
  now: number,
): AlertToRaise {
  const node = { type: 'account' as const, id: account };
  const country = location?.country ?? '';
  return createDueAlert('token_new_country', node, now, now, [account, jti, country], { subject: jti, country });
}

/** @returns the alert that something could not be stored, since a disk or an object's database is full. It comes once a day */
export function createDiskFullAlert(now: number): AlertToRaise {
  const { start, end } = findCalendarWindowAt('day', now);
  return createDueAlert('disk_full', DEPLOYMENT, now, end, [formatCalendarWindowId('day', start)], {});
}

/**
 * @returns the alert that an upstream refuses the deployment's key, in its words, or that it answers again
 *
 * @param upstream its name
 * @param since when it began to refuse the key that it accepts again; milliseconds since 1970
 */
export function createUpstreamKeyAlert(words: string | null, upstream: string, now: number, since = now): AlertToRaise {
  const kind = words === null ? 'key_works' : 'key_refused';
  const state = words ?? `requests were rejected from ${formatMinute(since)} until ${formatMinute(now)}`;
  const subject = [upstream, state].filter((part) => part !== '').join(': ');
  const remedy = words === null ? undefined : findKeyRemedy(upstream, words);
  return createDueAlert(kind, DEPLOYMENT, now, now + PARKED_MS, [now, upstream, words], {
    subject,
    ...(remedy !== undefined && {
      todo: `${upstream === '' ? 'All requests to Claude fail. ' : ''}${remedy} Only the operator can do this.`,
    }),
  });
}

/** An outage of an upstream, or of one of its models. Times are in milliseconds since 1970. */
interface ReportedOutage {
  upstream: string;
  /** Empty for all models. */
  model: string;
  /** When the first request failed. */
  since: number;
  reportedAt: number;
}

/**
 * @returns the alert that many requests to an upstream, or to one of its models, fail. It comes once for each outage
 *
 * @param failures how many requests have failed, and why
 * @param isRerouted whether other upstreams have answered all of the failed requests
 */
export function createUpstreamFailingAlert(
  { upstream, model, reportedAt }: ReportedOutage,
  failures: string,
  now: number,
  isRerouted: boolean,
): AlertToRaise {
  const subject = [upstream, model, failures].filter((part) => part !== '').join(': ');
  return createDueAlert('upstream_failing', DEPLOYMENT, now, now + PARKED_MS, [upstream, model, reportedAt], {
    subject,
    ...(isRerouted && { todo: REROUTED_TODO }),
  });
}

/** @returns the alert that an outage is over. @param until when the last request failed; undefined if that is unknown */
export function createUpstreamWorksAlert(
  { upstream, model, since, reportedAt }: ReportedOutage,
  until: number | undefined,
  now: number,
): AlertToRaise {
  const end = until === undefined ? '' : ` until ${formatMinute(until)}`;
  const times = `requests failed from ${formatMinute(since)}${end}`;
  const subject = [upstream, model, times].filter((part) => part !== '').join(': ');
  return createDueAlert('upstream_works', DEPLOYMENT, now, now + PARKED_MS, [upstream, model, reportedAt], { subject });
}

/** @returns a time in UTC without its seconds, such as `2026-11-20T12:04Z` */
export function formatMinute(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 16)}Z`;
}

/** @returns the alert that little is left of a rate limit of a key. It comes once for each incident. */
export function createKeyNearlyLimitedAlert(
  { upstream, model_class, kind, limit, remaining }: KeyLimit,
  now: number,
): AlertToRaise {
  const left = `${remaining} of ${limit} ${kind.replace('_', ' ')} per minute remain`;
  const subject = [upstream, model_class, left].filter((part) => part !== '').join(': ');
  return createDueAlert('key_nearly_limited', DEPLOYMENT, now, now + PARKED_MS, [upstream, model_class, now], {
    subject,
  });
}

/**
 * @returns the alert that a receiver has failed for an hour. It comes again after a delivery has succeeded in between
 *
 * @param source the source of the webhook; undefined for the events of batches and runs
 * @param since when the receiver first failed; milliseconds since 1970
 * @param events how many events are undelivered, if that is known
 */
export function createUndeliveredAlert(
  source: string | undefined,
  { since, error, events }: { since: number; error: string | null; events?: number },
  now: number,
): AlertToRaise {
  const node = source === undefined ? DEPLOYMENT : { type: 'webhook' as const, id: source };
  const count = events === undefined ? '' : `, ${events} undelivered`;
  const subject = [`Since ${new Date(since).toISOString()}${count}`, error].filter((part) => part !== null).join(': ');
  return createDueAlert('webhook_undelivered', node, now, now + PARKED_MS, [node.type, node.id, since], { subject });
}

/** @returns the alert that a conversation has spent a large part of its account's daily limit. It comes once a day for each. */
export function createExpensiveRunAlert(
  account: string,
  { conversation, share, limit, settled }: { conversation: string; share: number; limit: number; settled: number },
  now: number,
): AlertToRaise {
  const { start, end } = findCalendarWindowAt('day', now);
  const window = formatCalendarWindowId('day', start);
  return createDueAlert('run_expensive', { type: 'account', id: account }, now, end, [account, conversation, window], {
    limit: 'usd_per_day',
    window,
    threshold: share,
    limit_usd: toUsd(limit),
    settled_usd: toUsd(settled),
    subject: conversation,
  });
}
