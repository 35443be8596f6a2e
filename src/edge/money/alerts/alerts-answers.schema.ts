/** Alerts, as they are listed and delivered, and how often a delivery was tried. */

import { createObjectTypeSchema, time, usd } from '../../kit/http/fields.ts';
import { createListResponseSchema } from '../../kit/http/page.ts';
import * as z from '../../kit/http/zod.ts';

/** The content of an alert, which is also the body of its delivery. */
export const alertSchema = z.object({
  type: createObjectTypeSchema('alert'),
  event_id: z.addDescription(z.string(), 'The id of the alert, the same in each delivery.'),
  kind: z.addDescription(
    z.enum([
      'threshold',
      'over_hold',
      'webhook_parked',
      'batch_unknown',
      'batch_missing',
      'key_refused',
      'key_works',
      'key_nearly_limited',
      'upstream_failing',
      'upstream_works',
      'webhook_undelivered',
      'run_expensive',
      'disk_full',
      'token_new_country',
    ]),
    '`threshold`: a share of a limit is spent. `over_hold`: the upstream billed more than was held. `webhook_parked`: a webhook event is no longer retried. `batch_unknown`: it is unknown whether the upstream created a batch. `batch_missing`: the upstream has not found a batch for an hour. `key_refused`: an upstream rejects the deployment because of its key, its organization or its spend limit, once for each outage and cause. `key_works`: the upstream responds again, or was removed from `UPSTREAMS`. `key_nearly_limited`: less than 10 % of one of the key’s rate limits remains; sent again after half an hour with more. `upstream_failing`: more than 20 % of the requests to an upstream, or to one of its models, failed within five minutes (of at least ten requests). `upstream_works`: at most 10 % of the requests of the last five minutes failed. `webhook_undelivered`: a receiver has failed for an hour. `run_expensive`: a conversation or its run has spent more than half of its account’s `usd_per_day`, at most once a day. `disk_full`: data could not be stored, at most once a day. `token_new_country`: a token with an `admin` scope, or one that does not expire, is used from another country than before, once for each country.',
  ),
  node: z.addDescription(
    z.object({
      type: z.addDescription(
        z.enum(['account', 'group', 'deployment', 'webhook']),
        'What the alert is about: an account, a group, the deployment, or a source of webhooks.',
      ),
      id: z.addDescription(z.string(), 'The name of the account, group or source, or `deployment`.'),
    }),
    'The owner of the limit, or the source of webhooks.',
  ),
  created_at: z.addDescription(time, 'When the alert was created; ISO 8601, UTC.'),
  limit: z.addDescription(
    z.nullable(z.string()),
    'The name of the limit, such as `usd_per_day`. Null if the alert is not about a limit.',
  ),
  window: z.addDescription(
    z.nullable(z.string()),
    'The window of the limit, such as `2026-11-20` or `2026-W47`. Null if the limit has no window.',
  ),
  threshold: z.addDescription(
    z.nullable(z.number()),
    'The share of the limit that was reached, such as 0.8. Null if the alert is not about a share.',
  ),
  limit_usd: z.addDescription(
    z.nullable(usd),
    'The limit in US dollars. Null if the alert is not about a limit in US dollars.',
  ),
  settled_usd: z.addDescription(
    z.nullable(usd),
    'The spending when the alert was created, in US dollars. Null if the alert is not about spending.',
  ),
  subject: z.addDescription(
    z.nullable(z.string()),
    'The id of the request, event, batch, token or conversation that the alert is about. For `key_refused`, `key_nearly_limited`, `upstream_failing` and `webhook_undelivered`: the error, after the names of the upstream (if there are several) and the model, or the time of the first failure. For `key_works` and `upstream_works`: from when to when requests failed. Null if there is nothing to add.',
  ),
  country: z.createOptionalField(
    z.string(),
    'The country by its ISO 3166-1 code, or `T1` for Tor. Only for `token_new_country`.',
  ),
  todo: z.addDescription(z.string(), 'What to do next, and who can do it.'),
});

/** Why an attempt has failed. */
export const attemptErrorFields = {
  type: z.addDescription(z.string(), 'The type of the error.'),
  message: z.addDescription(z.string(), 'A sentence that explains the error.'),
  status: z.createOptionalField(z.int(), 'The HTTP status that the receiver returned.'),
};

/** How often something was tried, and how that went. */
export const triesSchema = {
  attempts: z.addDescription(z.int(), 'How often it was tried.'),
  next_attempt_at: z.addDescription(
    z.nullable(time),
    'When the delivery is tried again; ISO 8601, UTC. Null if no attempt is scheduled.',
  ),
  error: z.addDescription(
    z.nullable(z.object(attemptErrorFields)),
    'The error of the last attempt. Null if the attempt succeeded, or there was no attempt.',
  ),
};

/** An alert in the list of them. */
export const alertRow = z.extend(alertSchema, {
  state: z.addDescription(
    z.enum(['pending', 'delivered', 'parked', 'kept']),
    '`pending`; `delivered`; `parked`: all attempts within a day failed; `kept`: `ALERT_URL` is not set.',
  ),
  ...triesSchema,
});

/** A page of the alerts. */
export const alertList = z.extend(createListResponseSchema(z.addReferenceMeta(alertRow, { id: 'Alert' })), {
  alert_url_set: z.addDescription(
    z.boolean(),
    'Whether `ALERT_URL` is set. Without it, alerts are only listed, and undelivered events of webhooks do not create alerts.',
  ),
});

/** An alert before it has its id. */
export type Alert = Omit<z.output<typeof alertSchema>, 'type' | 'event_id'>;
export type AlertBody = z.output<typeof alertSchema>;
export type AlertRow = z.output<typeof alertRow>;
export type AlertList = z.output<typeof alertList>;
