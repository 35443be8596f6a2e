import { classifiedFields } from '../../classify/classify-answers.schema.ts';
import { count, createObjectTypeSchema } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { attemptError, triesSchema } from '../../money/alerts/alerts-answers.schema.ts';
import { eventState } from './webhooks.schema.ts';

/** The labels of a text, and what they cost. */
const classification = z.object({
  ...classifiedFields,
  model: z.string(),
  classifier: z.addDescription(z.nullable(z.string()), 'The version of a stored classifier: name@version.'),
  usage: z.record(z.string(), z.number()),
  cost_usd: z.number(),
  classified_at: z.iso.datetime(),
});

const agentAnswer = z.object({
  agent: z.addDescription(z.string(), 'As the source names it.'),
  conversation: z.string(),
  turn: z.string(),
  status: z.enum(['complete', 'stopped', 'interrupted', 'refused']),
  paused: z.addDescription(
    z.nullable(z.string()),
    'Why its run has paused before its end, as the turn itself says it.',
  ),
  stop_reason: z.nullable(z.string()),
  text: z.addDescription(z.string(), 'What it said last: the first 100,000 characters.'),
  error: z.nullable(z.object({ type: z.string(), message: z.string() })),
  cost_usd: z.number(),
  answered_at: z.iso.datetime(),
});

/** One attempt to work on an event, or to deliver its result. */
const attempt = z.object({ at: z.iso.datetime(), ms: z.int(), error: attemptError });

/** An event in its source's list. */
export const eventRow = z.object({
  type: createObjectTypeSchema('webhook_event'),
  event_id: z.string(),
  source: z.string(),
  state: eventState,
  label: z.nullable(z.union([z.string(), z.array(z.string())])),
  conversation: z.addDescription(z.nullable(z.string()), 'Where an agent works on it, in the account of the source.'),
  turn: z.nullable(z.string()),
  received_at: z.iso.datetime(),
  ...triesSchema,
});

export const eventReport = z.extend(z.omit(eventRow, { attempts: true, error: true }), {
  account: z.string(),
  subject: z.addDescription(z.nullable(z.string()), 'What the text is found by at its sender.'),
  digest: z.addDescription(z.string(), 'Of the body as it came: sha256:…'),
  text: z.addDescription(z.nullable(z.string()), 'What is labelled or answered; null if it was too long.'),
  result: z.nullable(z.union([classification, agentAnswer])),
  attempts: z.addDescription(z.array(attempt), 'Oldest first; the last fifty.'),
});

/** A source of webhooks in the list. */
export const sourceRow = z.object({
  type: createObjectTypeSchema('webhook_source'),
  source: z.string(),
  open: z.addDescription(z.boolean(), 'Whether its secret is set. A source without a secret rejects events.'),
  agent: z.addDescription(z.nullable(z.string()), 'The agent that answers its events.'),
  classifier: z.addDescription(z.nullable(z.string()), 'The stored classifier that labels its events.'),
  undelivered_events: z.addDescription(
    count,
    'Events that were tried without success: they are tried again, or `parked`.',
  ),
});

export const replayed = z.object({
  type: createObjectTypeSchema('webhook_replay'),
  source: z.string(),
  scheduled: z.addDescription(count, 'How many events are tried again.'),
});

const deliveredEvent = {
  event_id: z.string(),
  source: z.string(),
  subject: z.nullable(z.string()),
  received_at: z.iso.datetime(),
};

const delivered = z.object({
  type: createObjectTypeSchema('webhook_event.classified'),
  ...deliveredEvent,
  ...classification.shape,
});

/** The body of a delivery if an agent has worked on the event. */
const deliveredAnswer = z.object({
  type: createObjectTypeSchema('webhook_event.answered'),
  ...deliveredEvent,
  ...agentAnswer.shape,
});

export const received = z.object({
  event_id: z.createOptionalField(z.string(), 'The event’s id here, and at whoever gets its result.'),
  status: z.enum(['accepted', 'duplicate', 'ignored']),
});

export type EventClassification = z.output<typeof classification>;
export type EventAgentAnswer = z.output<typeof agentAnswer>;
export type EventResult = EventClassification | EventAgentAnswer;
export type AgentAnswerDelivery = z.output<typeof deliveredAnswer>;
export type EventAttempt = z.output<typeof attempt>;
export type EventRow = z.output<typeof eventRow>;
export type EventReport = z.output<typeof eventReport>;
export type WebhookSourceRow = z.output<typeof sourceRow>;
export type EventReplayReport = z.output<typeof replayed>;
export type ClassificationDelivery = z.output<typeof delivered>;
