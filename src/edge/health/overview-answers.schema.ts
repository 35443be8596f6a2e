import { RATE_LIMIT_KINDS } from '../claude/upstreams/rate-limits.ts';
import { count, createObjectTypeSchema, time } from '../kit/http/fields.ts';
import * as z from '../kit/http/zod.ts';

/** What is broken. Members of plugins that are not in use are absent. */
export const overviewAnswer = z.object({
  type: createObjectTypeSchema('overview'),
  requests: z.createOptionalField(
    z.object({
      requests: z.addDescription(count, 'The number of admitted requests that have ended.'),
      failed: z.addDescription(count, 'How many of these requests have an `error_type` in the ledger.'),
      refused: z.addDescription(count, 'The number of requests that a limit rejected.'),
      last_failed_at: z.addDescription(
        z.nullable(time),
        'When the last failed request began, also before the current day. Null if none is known.',
      ),
    }),
    'The requests of all accounts on the current day (UTC), updated within a minute.',
  ),
  rejections: z.createOptionalField(
    z.array(
      z.object({
        limited_by: z.addDescription(
          z.string(),
          'Whose limit it was: that of the account, token, group or deployment.',
        ),
        reason: z.addDescription(z.string(), 'Why the requests were rejected, as in `GET /usage/requests`.'),
        requests: z.addDescription(count, 'The number of rejected requests.'),
      }),
    ),
    'The requests that limits rejected on the current day (UTC), by the limit’s owner and the reason, the most frequent first.',
  ),
  accounts: z.createOptionalField(
    z.object({
      blocked: z.addDescription(count, 'Accounts whose requests are all rejected by a limit of 0.'),
      spent: z.addDescription(
        count,
        'Accounts whose requests are all rejected by a limit in US dollars: their own, a token’s or their group’s.',
      ),
    }),
    'The number of accounts that cannot send requests now.',
  ),
  undelivered_events: z.createOptionalField(
    z.array(
      z.object({
        source: z.addDescription(z.string(), 'The name of the source, such as `github`.'),
        events: z.addDescription(count, 'The number of undelivered events of the source.'),
        failing_since: z.addDescription(
          z.nullable(time),
          'When the receiver first failed after its last success. Null if it works again, or the event failed before its delivery.',
        ),
      }),
    ),
    'Webhook sources with events that were tried without success. They are retried, or `parked`.',
  ),
  undelivered_alerts: z.createOptionalField(count, 'The number of alerts that could not be delivered.'),
  incidents: z.createOptionalField(
    z.array(
      z.object({
        kind: z.addDescription(z.enum(['key_refused', 'upstream_failing']), 'The kind of the alert.'),
        since: z.addDescription(
          time,
          'When it began. For `key_refused`: when the first rejection was reported. For `upstream_failing`: the minute of the first failure.',
        ),
        subject: z.addDescription(
          z.nullable(z.string()),
          'As in the alert. For `upstream_failing`: with the counts of the outage’s last five minutes.',
        ),
        todo: z.addDescription(z.string(), 'What to do next, and who can do it.'),
        rerouted: z.createOptionalField(
          z.literal(true),
          'Set if other upstreams answered all requests that failed in the last five minutes. Then no user is affected.',
        ),
      }),
    ),
    'The alerts about upstreams that are not over: none of `key_works` or `upstream_works` has followed.',
  ),
  failing_tasks: z.createOptionalField(
    z.array(
      z.object({
        task: z.addDescription(z.string(), 'The task, for example `alert` or `settlement`.'),
        failing_since: z.addDescription(time, 'When the task first failed.'),
        last_reported_at: z.addDescription(time, 'When a Durable Object last reported the failure.'),
      }),
    ),
    'Background tasks that have failed for at least ten minutes. They are repeated until they succeed. The log names the object.',
  ),
  key_limits: z.createOptionalField(
    z.array(
      z.object({
        upstream: z.addDescription(z.string(), 'The name of the upstream. Empty if there is only one.'),
        model_class: z.addDescription(
          z.string(),
          'The class of models that shares the limit, such as `opus`. `(other)` for models that are not in the model table.',
        ),
        kind: z.addDescription(
          z.enum(RATE_LIMIT_KINDS),
          'What the upstream limits, as in the header `anthropic-ratelimit-…`.',
        ),
        limit: z.addDescription(count, 'The limit.'),
        remaining: z.addDescription(count, 'How much is left.'),
        resets_at: z.addDescription(time, 'When the limit is full again.'),
        reported_at: z.addDescription(time, 'When the upstream reported these numbers.'),
        rejected_requests: z.addDescription(
          count,
          'How many requests for these models failed in the last five minutes because the upstream rejected them with a 429.',
        ),
      }),
    ),
    'Rate limits of the deployment’s keys of which less than 10 % was left in the last five minutes, updated within a minute. To raise them, the operator must ask Anthropic.',
  ),
  versions: z.createOptionalField(
    z.array(
      z.object({
        id: z.addDescription(z.string(), 'The id of the version, as in `wrangler deployments list`.'),
        since: z.addDescription(time, 'When the version was first seen after another one.'),
      }),
    ),
    'The last 50 changes of the deployed version, the oldest first. Empty without the binding `CF_VERSION_METADATA`.',
  ),
});

export type OverviewResponse = z.output<typeof overviewAnswer>;
