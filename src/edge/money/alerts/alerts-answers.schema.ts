import { createObjectTypeSchema, time, usd } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';

/** What an alert says; a delivery has it as its body. */
export const alertSchema = z.object({
  type: createObjectTypeSchema('alert'),
  event_id: z.addDescription(z.string(), 'The same however often it is delivered.'),
  kind: z.addDescription(
    z.enum([
      'threshold',
      'over_hold',
      'webhook_parked',
      'batch_unknown',
      'batch_missing',
      'key_refused',
      'key_works',
      'disk_full',
    ]),
    'threshold: a share of a limit is spent. over_hold: the upstream billed more than was set aside. webhook_parked: an event of a webhook is tried no more. batch_unknown: the upstream did not say whether it has made a batch. batch_missing: the upstream has not known a batch for an hour. key_refused: an upstream refuses the key of the deployment, its organization, or what it would spend, once for each outage and cause. key_works: it answers again, or is not in UPSTREAMS any more. disk_full: something could not be stored, once a day.',
  ),
  node: z.addDescription(
    z.object({ type: z.enum(['account', 'group', 'deployment', 'webhook']), id: z.string() }),
    'Whose limit it is, or which source of webhooks.',
  ),
  created_at: time,
  limit: z.addDescription(z.nullable(z.string()), 'The limit, as it is named in the limits.'),
  window: z.addDescription(z.nullable(z.string()), 'The window that it counts in: 2026-11-20, 2026-W47, …'),
  threshold: z.addDescription(z.nullable(z.number()), 'The share of the limit that is spent, at least.'),
  limit_usd: z.nullable(usd),
  settled_usd: z.nullable(usd),
  subject: z.addDescription(
    z.nullable(z.string()),
    'The request, the event, or the batch, that it is about; for `key_refused` what the upstream says, behind its name where there are several.',
  ),
});

/** Why an attempt has failed; null if it has not. */
export const attemptError = z.nullable(
  z.object({
    type: z.string(),
    message: z.string(),
    status: z.createOptionalField(z.int(), 'What the receiver answered.'),
  }),
);

/** How often something was tried, and how that went. */
export const triesSchema = {
  attempts: z.int(),
  next_attempt_at: z.addDescription(z.nullable(time), 'When it is tried again; null if nothing is to be waited for.'),
  error: z.addDescription(attemptError, 'Of the last attempt.'),
};

/** An alert in the list of them. */
export const alertRow = z.extend(alertSchema, {
  state: z.addDescription(
    z.enum(['pending', 'delivered', 'parked', 'kept']),
    'parked: the receiver did not take it in a day. kept: ALERT_URL is not set.',
  ),
  ...triesSchema,
});

/** An alert before it has its id. */
export type Alert = Omit<z.output<typeof alertSchema>, 'type' | 'event_id'>;
export type AlertBody = z.output<typeof alertSchema>;
export type AlertRow = z.output<typeof alertRow>;
