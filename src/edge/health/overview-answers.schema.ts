import { count, createObjectTypeSchema, time } from '../kit/http/fields.ts';
import * as z from '../kit/http/zod.ts';

/** What is broken. Members of plugins that are not in use are absent. */
export const overviewAnswer = z.object({
  type: createObjectTypeSchema('overview'),
  requests: z.createOptionalField(
    z.object({
      requests: z.addDescription(count, 'That were admitted, and have ended.'),
      failed: z.addDescription(count, 'Of these: those with an `error_type` in the ledger.'),
      refused: z.addDescription(count, 'That a limit has refused.'),
    }),
    'Of all accounts, of this day in UTC, as told until a minute ago.',
  ),
  accounts: z.createOptionalField(
    z.object({
      blocked: z.addDescription(count, 'A limit of 0 refuses all of their requests.'),
      spent: z.addDescription(
        count,
        'A limit in USD refuses all of their requests: their own, that of a token, or of their group.',
      ),
    }),
    'How many can ask for nothing now.',
  ),
  undelivered_events: z.createOptionalField(
    z.array(
      z.object({
        source: z.addDescription(z.string(), 'The name of the source, such as `github`.'),
        events: z.addDescription(count, 'The number of its undelivered events.'),
      }),
    ),
    'Webhook sources with events that were tried without success. They are retried, or `parked`.',
  ),
  undelivered_alerts: z.createOptionalField(count, 'Alerts that were tried in vain.'),
  failing_tasks: z.createOptionalField(
    z.array(
      z.object({
        task: z.addDescription(z.string(), 'What fails, for example `alert` or `settlement`.'),
        failing_since: z.addDescription(time, 'When it failed first.'),
        last_reported_at: z.addDescription(time, 'When an object reported it last.'),
      }),
    ),
    'Background work that has failed for at least ten minutes, and is repeated until it succeeds. The log names the object.',
  ),
});

export type OverviewResponse = z.output<typeof overviewAnswer>;
