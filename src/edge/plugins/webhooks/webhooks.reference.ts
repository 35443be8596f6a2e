import * as z from '../../kit/http/zod.ts';
import { type ApiResource, describeRoutes } from '../../openapi/resource.ts';
import { createNamedListSchema, describeJsonResponse, describePageResponse } from '../../openapi/responses.ts';
import { SHIPPED_SOURCES } from './shipped-sources.ts';
import { WEBHOOK_ROUTES } from './webhooks.route.ts';
import { eventReport, eventRow, received, replayed, sourceRow } from './webhooks-answers.schema.ts';

const id = 'github_issue-3001-2026-11-20T090000Z';
const row = {
  type: 'webhook_event',
  event_id: id,
  source: 'github',
  state: 'delivered',
  label: 'bug',
  conversation: null,
  turn: null,
  received_at: '2026-11-20T10:06:16.310Z',
  attempts: 1,
  next_attempt_at: null,
  error: null,
};
const { attempts: _, error: __, ...listed } = row;
const report = {
  ...listed,
  account: 'webhook-github',
  subject: 'https://github.com/acme/tables/issues/42',
  text: 'The table loses its last row\n\nIt is gone after the second page.',
  digest: 'sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08',
  result: {
    label: 'bug',
    cached: false,
    model: 'claude-haiku-5-5',
    classifier: null,
    usage: { input_tokens: 186, output_tokens: 9, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 },
    cost_usd: 0.0000231,
    classified_at: '2026-11-20T10:06:16.780Z',
  },
  attempts: [{ at: '2026-11-20T10:06:16.330Z', ms: 520, error: null }],
};
const source = {
  type: 'webhook_source',
  source: 'github',
  open: true,
  secret: 'GITHUB_WEBHOOK_SECRET',
  agent: null,
  classifier: null,
  undelivered_events: 2,
};
const receivedSchema = z.addReferenceMeta(received, { id: 'WebhookReceived' });
const eventSchema = z.addReferenceMeta(eventReport, { id: 'WebhookEvent' });

export const webhooks: ApiResource = {
  tag: 'Webhooks',
  description:
    'Receives signed events from other services. Each event is classified or processed by an agent once, and the signed result is delivered.',
  parameters: {
    source: {
      description: `${SHIPPED_SOURCES.map((name) => `\`${name}\``).join(', ')}, or a source that the Worker’s code or the setting \`WEBHOOKS\` defines.`,
      example: 'github',
    },
    id: { description: 'The id of the event, as in the response to its receipt.', example: id },
  },
  routes: describeRoutes(WEBHOOK_ROUTES, {
    'POST /webhooks/:source': {
      operation: 'receiveWebhook',
      summary: 'Receive an event',
      description:
        'The signature of the sender is the only credential. The event is classified, or processed by an agent, after the response.',
      body: {
        schema: z.addDescription(z.looseObject({}), 'The event, in the format of the sender.'),
        example: {
          action: 'opened',
          issue: { title: 'The table loses its last row', body: 'It is gone after the second page.' },
        },
      },
      answers: {
        200: describeJsonResponse(
          'The event was already received, or has no text; or the response that the protocol of the sender requires.',
          receivedSchema,
          { status: 'ignored', reason: 'The source found no text in this event.' },
        ),
        202: describeJsonResponse('The event is stored and will be processed.', receivedSchema, {
          event_id: id,
          status: 'accepted',
        }),
      },
      errors: [400, 413, 415, 503],
    },
    'GET /webhooks': {
      operation: 'listWebhookSources',
      summary: 'List webhook sources',
      answer: describeJsonResponse(
        'The sources of the Worker’s code and of `WEBHOOKS`, each with the number of its undelivered events.',
        createNamedListSchema('WebhookSourceList', sourceRow),
        { data: [source], has_more: false, first_id: 'github', last_id: 'github' },
      ),
    },
    'POST /webhooks/:source/events/replay': {
      operation: 'replayWebhookEvents',
      summary: 'Replay all undelivered events of a source',
      description:
        'Schedules each event that was tried without success. An event without a result is processed again, any other event is delivered again with the same id. Events that are being tried now are unchanged.',
      answers: {
        202: describeJsonResponse(
          'The number of scheduled events.',
          z.addReferenceMeta(replayed, { id: 'WebhookReplay' }),
          {
            type: 'webhook_replay',
            source: 'github',
            scheduled: 2,
          },
        ),
      },
    },
    'GET /webhooks/:source/events': {
      operation: 'listWebhookEvents',
      summary: 'List the events of a source',
      answer: describePageResponse(
        createNamedListSchema('WebhookEventList', eventRow),
        row,
        id,
        'A page of the list, newest first.',
      ),
    },
    'GET /webhooks/:source/events/:id': {
      operation: 'getWebhookEvent',
      summary: 'Retrieve an event with its result and attempts',
      answer: describeJsonResponse('The event with its result and attempts.', eventSchema, report),
    },
    'POST /webhooks/:source/events/:id/replay': {
      operation: 'replayWebhookEvent',
      summary: 'Replay an event',
      description:
        'An event without a result is processed again. An event with a result is delivered again with the same id.',
      answers: { 202: describeJsonResponse('The event.', eventSchema, report) },
    },
  }),
};
