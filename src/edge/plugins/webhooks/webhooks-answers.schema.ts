import { classifiedFields } from '../../classify/classify-answers.schema.ts';
import { count, createObjectTypeSchema } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { attemptErrorFields, triesSchema } from '../../money/alerts/alerts-answers.schema.ts';
import { eventState } from './webhooks.schema.ts';

const errorMessage = z.addDescription(
  z.string(),
  'A sentence that explains the error. Empty for the scope `admin:read`, because it may quote the event.',
);
/** Why work on an event, or the delivery of its result, has failed. */
const eventError = z.nullable(z.object({ ...attemptErrorFields, message: errorMessage }));

/** The labels of a text, and their cost. */
const classification = z.object({
  ...classifiedFields,
  model: z.addDescription(z.string(), 'The id of the model that classified the text.'),
  classifier: z.addDescription(
    z.nullable(z.string()),
    'The version of the stored classifier, `name@version`. Null if the source has no stored classifier.',
  ),
  usage: z.addDescription(z.record(z.string(), z.number()), 'The tokens that were used, by kind.'),
  cost_usd: z.addDescription(z.number(), 'The cost in US dollars.'),
  classified_at: z.addDescription(z.iso.datetime(), 'When the event was classified; ISO 8601, UTC.'),
});

const agentAnswer = z.object({
  agent: z.addDescription(z.string(), 'The agent, as the configuration of the source names it.'),
  conversation: z.addDescription(z.string(), 'The id of the conversation in which the agent worked on the event.'),
  turn: z.addDescription(z.string(), 'The id of the turn.'),
  status: z.addDescription(z.enum(['complete', 'stopped', 'interrupted', 'refused']), 'How the turn ended.'),
  paused: z.addDescription(
    z.nullable(z.string()),
    'Why the run paused before its end, as in the turn. Null if the run did not pause.',
  ),
  stop_reason: z.addDescription(
    z.nullable(z.string()),
    'Why the response ended, for example `end_turn`. Null if the response failed or was stopped.',
  ),
  text: z.addDescription(
    z.string(),
    'The text of the last response, cut off after 100,000 characters. Empty for the scope `admin:read`.',
  ),
  error: z.addDescription(
    z.nullable(
      z.object({
        type: z.addDescription(z.string(), 'The type of the error, such as `overloaded_error`.'),
        message: errorMessage,
      }),
    ),
    'The error with which the turn ended. Null if the turn ended without an error.',
  ),
  cost_usd: z.addDescription(z.number(), 'The cost of the turn, in US dollars.'),
  answered_at: z.addDescription(z.iso.datetime(), 'When the turn ended; ISO 8601, UTC.'),
});

/** One attempt to work on an event, or to deliver its result. */
const attempt = z.object({
  at: z.addDescription(z.iso.datetime(), 'When the attempt began; ISO 8601, UTC.'),
  ms: z.addDescription(z.int(), 'How long the attempt took, in milliseconds.'),
  error: z.addDescription(eventError, 'Why the attempt failed. Null if the attempt succeeded.'),
});

/** An event in its source's list. */
export const eventRow = z.object({
  type: createObjectTypeSchema('webhook_event'),
  event_id: z.addDescription(z.string(), 'The id of the event.'),
  source: z.addDescription(z.string(), 'The name of the source, such as `github`.'),
  state: eventState,
  label: z.addDescription(
    z.nullable(z.union([z.string(), z.array(z.string())])),
    'The label of the event, or its labels. Null if the event is not classified.',
  ),
  conversation: z.addDescription(
    z.nullable(z.string()),
    'The id of the conversation in which an agent works on the event, in the account of the source. Null if no agent works on the event.',
  ),
  turn: z.addDescription(
    z.nullable(z.string()),
    'The id of the agent’s turn. Null if no agent has worked on the event.',
  ),
  received_at: z.addDescription(z.iso.datetime(), 'When the event was received; ISO 8601, UTC.'),
  ...triesSchema,
  error: z.addDescription(
    eventError,
    'The error of the last attempt. Null if the attempt succeeded, or there was no attempt.',
  ),
});

export const eventReport = z.extend(z.omit(eventRow, { attempts: true, error: true }), {
  account: z.addDescription(z.string(), 'The account that pays for the event, such as `webhook-github`.'),
  subject: z.addDescription(
    z.nullable(z.string()),
    'The URL or id, at the sender, of the item that the event is about, such as a GitHub issue. Null if unknown, and for the scope `admin:read`.',
  ),
  digest: z.addDescription(z.string(), 'The SHA-256 digest of the received body: `sha256:…`.'),
  text: z.addDescription(
    z.nullable(z.string()),
    'The text that is classified or processed by the agent. Null if the text was too long to be stored, and for the scope `admin:read`.',
  ),
  result: z.addDescription(
    z.nullable(z.union([classification, agentAnswer])),
    'The classification, or the response of the agent. Null if there is no result yet. For the scope `admin:read`, it has neither extracted values nor texts.',
  ),
  attempts: z.addDescription(z.array(attempt), 'The last fifty attempts, oldest first.'),
});

/** A source of webhooks in the list. */
export const sourceRow = z.object({
  type: createObjectTypeSchema('webhook_source'),
  source: z.addDescription(z.string(), 'The name of the source, such as `github`.'),
  open: z.addDescription(z.boolean(), 'Whether its secret is set. A source without a secret rejects events.'),
  secret: z.addDescription(
    z.nullable(z.string()),
    'The name of the setting that contains the secret, such as `GITHUB_WEBHOOK_SECRET`. Null for a source of the Worker’s code that has no entry in `WEBHOOKS`.',
  ),
  agent: z.addDescription(z.nullable(z.string()), 'The agent that processes the events. Null if no agent does.'),
  classifier: z.addDescription(
    z.nullable(z.string()),
    'The stored classifier that classifies the events. Null if the source uses no stored classifier.',
  ),
  undelivered_events: z.addDescription(count, 'Events that failed at least once. They are retried, or `parked`.'),
});

export const replayed = z.object({
  type: createObjectTypeSchema('webhook_replay'),
  source: z.addDescription(z.string(), 'The name of the source.'),
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
  event_id: z.createOptionalField(
    z.string(),
    'The id of the event in Sluice and in deliveries. Absent if the event is ignored.',
  ),
  status: z.addDescription(
    z.enum(['accepted', 'duplicate', 'ignored']),
    '`accepted`: it is stored and will be processed. `duplicate`: it was received before. `ignored`: it contains nothing to process.',
  ),
  reason: z.createOptionalField(z.string(), 'Why the event is ignored. Absent if it is not ignored.'),
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
