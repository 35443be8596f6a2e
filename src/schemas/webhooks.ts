import * as z from 'zod';

/** Where an event stands. */
export const eventState = z
  .enum(['accepted', 'waiting', 'delivering', 'classified', 'delivered', 'parked', 'failed'])
  .describe(
    '`accepted`: to be classified; `waiting`: for the budget’s next window; `delivering`: classified, and on its way; ' +
      '`classified`: there is nowhere to deliver it to; `delivered`; `parked`: given up after the last attempt; ' +
      '`failed`: this text cannot be classified. What is parked or failed can be replayed.',
  );

/** The labels of a text, and what they cost. */
export const classification = z.object({
  label: z.string().nullable().optional(),
  labels: z.array(z.string()).optional().describe('In place of `label`, where several may hold.'),
  confidence: z.number().nullable(),
  fields: z.record(z.string(), z.unknown()).nullable(),
  cached: z.boolean(),
  model: z.string(),
  classifier: z.string().nullable().describe('The version of a stored classifier: name@version.'),
  usage: z.record(z.string(), z.number()),
  cost_usd: z.number(),
  classified_at: z.iso.datetime(),
});

/** One run of the work on an event. */
export const attempt = z.object({
  at: z.iso.datetime(),
  ms: z.int(),
  error: z
    .object({
      type: z.string(),
      message: z.string(),
      status: z.int().optional().describe('What the receiver answered.'),
    })
    .nullable(),
});

/** An event in its source's list. */
export const eventRow = z.object({
  type: z.literal('webhook_event'),
  event_id: z.string(),
  source: z.string(),
  state: eventState,
  label: z.union([z.string(), z.array(z.string())]).nullable(),
  received_at: z.iso.datetime(),
  attempts: z.int(),
});

/** An event by itself. */
export const eventReport = eventRow.omit({ attempts: true }).extend({
  account: z.string(),
  subject: z.string().nullable().describe('What the text is found by at its sender.'),
  digest: z.string().describe('Of the body as it came: sha256:…'),
  result: classification.nullable(),
  attempts: z.array(attempt).describe('Oldest first; the last fifty.'),
  next_attempt_at: z.iso.datetime().nullable(),
});

/** What is delivered. */
export const delivered = z.object({
  type: z.literal('webhook_event.classified'),
  event_id: z.string(),
  source: z.string(),
  subject: z.string().nullable(),
  received_at: z.iso.datetime(),
  ...classification.shape,
});

/** What a sender is answered. */
export const received = z.object({
  event_id: z.string().optional().describe('The event’s id here, and at whoever gets its result.'),
  status: z.enum(['accepted', 'duplicate', 'ignored']),
});

/** Which events are asked for, beside the page. */
export const eventsQuery = z.object({ state: eventState.optional() });

export type EventState = z.output<typeof eventState>;
export type Classification = z.output<typeof classification>;
export type Attempt = z.output<typeof attempt>;
export type EventRow = z.output<typeof eventRow>;
export type EventReport = z.output<typeof eventReport>;
export type Delivered = z.output<typeof delivered>;
