import { classifiedFields } from '../classification/classify-answers.schema.ts';
import * as z from '../http/zod.ts';
import { eventState } from './webhooks.schema.ts';

/** The labels of a text, and what they cost. */
export const classification = z.object({
  ...classifiedFields,
  model: z.string(),
  classifier: z.described(z.nullable(z.string()), 'The version of a stored classifier: name@version.'),
  usage: z.record(z.string(), z.number()),
  cost_usd: z.number(),
  classified_at: z.iso.datetime(),
});

/** One attempt to classify or deliver an event. */
export const attempt = z.object({
  at: z.iso.datetime(),
  ms: z.int(),
  error: z.nullable(
    z.object({
      type: z.string(),
      message: z.string(),
      status: z.described(z.optional(z.int()), 'What the receiver answered.'),
    }),
  ),
});

/** An event in its source's list. */
export const eventRow = z.object({
  type: z.literal('webhook_event'),
  event_id: z.string(),
  source: z.string(),
  state: eventState,
  label: z.nullable(z.union([z.string(), z.array(z.string())])),
  received_at: z.iso.datetime(),
  attempts: z.int(),
});

/** One event, with its result and its attempts. */
export const eventReport = z.extend(z.omit(eventRow, { attempts: true }), {
  account: z.string(),
  subject: z.described(z.nullable(z.string()), 'What the text is found by at its sender.'),
  digest: z.described(z.string(), 'Of the body as it came: sha256:…'),
  result: z.nullable(classification),
  attempts: z.described(z.array(attempt), 'Oldest first; the last fifty.'),
  next_attempt_at: z.nullable(z.iso.datetime()),
});

/** The body of a delivery. */
export const delivered = z.object({
  type: z.literal('webhook_event.classified'),
  event_id: z.string(),
  source: z.string(),
  subject: z.nullable(z.string()),
  received_at: z.iso.datetime(),
  ...classification.shape,
});

/** The answer to a sender. */
export const received = z.object({
  event_id: z.described(z.optional(z.string()), 'The event’s id here, and at whoever gets its result.'),
  status: z.enum(['accepted', 'duplicate', 'ignored']),
});

export type Classification = z.output<typeof classification>;
export type Attempt = z.output<typeof attempt>;
export type EventRow = z.output<typeof eventRow>;
export type EventReport = z.output<typeof eventReport>;
export type Delivered = z.output<typeof delivered>;
