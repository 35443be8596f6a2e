import { messageParam } from '../../claude/messages.schema.ts';
import * as z from '../../kit/http/zod.ts';
import { listDimensions } from '../../money/contracts/dimensions.ts';
import { eventStream } from '../../openapi/event-stream.ts';
import { type ApiResource, describeRoutes } from '../../openapi/resource.ts';
import { createNamedListSchema, describeJsonResponse, describePageResponse } from '../../openapi/responses.ts';
import { CONVERSATION_ROUTES } from './conversations.route.ts';
import { createConversation, importedHistory, rewindRequest } from './conversations.schema.ts';
import {
  conversationDeleted,
  conversationReport,
  conversationRow,
  messageRow,
  turnReport,
} from './conversations-answers.schema.ts';

export const conversationExample = {
  type: 'conversation',
  id: 'trip',
  title: 'A trip in May',
  created_at: '2026-11-20T10:06:16.310Z',
  updated_at: '2026-11-20T10:06:16.780Z',
  turns: 1,
  messages: 2,
  cost_usd: 0.0000074,
  state: 'idle',
  paused: null,
};
export const reportExample = {
  ...conversationExample,
  turn: null,
  model: 'claude-haiku-5-5',
  max_tokens: 2_048,
  system: 'You plan journeys by train.',
  tools: null,
  prefix: null,
  agent: null,
  metadata: { team: 'travel' },
  retention_seconds: null,
  history: null,
  usage: { input_tokens: 14, output_tokens: 12 },
};
export const messageExample = {
  type: 'message',
  id: 'msg_01rUJBfm6UUf8pMu1YjVbpeB',
  role: 'assistant',
  content: [{ type: 'text', text: 'To Lisbon.' }],
  model: 'claude-haiku-5-5',
  stop_reason: 'end_turn',
  paused: null,
  usage: { input_tokens: 14, output_tokens: 12 },
  cost_usd: 0.0000074,
  created_at: '2026-11-20T10:06:16.780Z',
  status: 'complete',
  turn: 'turn_2m4gmfejmm3a',
};

export const turnExample = {
  type: 'turn',
  id: 'turn_2m4gmfejmm3a',
  continues: null,
  conversation: 'trip',
  status: 'complete',
  paused: null,
  error: null,
  began_at: '2026-11-20T10:06:16.310Z',
  ended_at: '2026-11-20T10:06:18.780Z',
  cost_usd: 0.0002,
  steps: [
    {
      request_id: 'req_01m7zceb0957qb2m4gmfejmm3a',
      status: 'complete',
      model: 'claude-haiku-5-5',
      stop_reason: 'tool_use',
      usage: { input_tokens: 400, output_tokens: 40 },
      cost_usd: 0.0002,
      ttft_ms: 310,
      calls: [
        {
          id: 'toolu_01A',
          name: 'get_weather',
          input: { city: 'Bern' },
          approval: null,
          ms: 120,
          tries: 1,
          is_error: false,
          bytes: 14,
        },
      ],
    },
  ],
};

const rowSchema = z.addReferenceMeta(conversationRow, { id: 'ConversationRow' });
const pluginFields = Object.assign({}, ...listDimensions().map(({ shownInMessage }) => shownInMessage));
const messageSchema = z.addReferenceMeta(z.extend(messageRow, pluginFields), { id: 'ConversationMessage' });
export const conversationList = createNamedListSchema('ConversationList', rowSchema);

/** A turn in the reference. A request in the background is answered with it too. */
export const turnSchema = z.addReferenceMeta(turnReport, { id: 'ConversationTurn' });
const reportSchema = z.addReferenceMeta(conversationReport, { id: 'Conversation' });
export const createConversationResponseReference = (description: string) =>
  describeJsonResponse(description, reportSchema, reportExample);

const creation = z.extend(createConversation, {
  messages: z.createOptionalField(z.array(messageParam).check(z.minLength(1)), importedHistory),
});

export const conversationId = {
  description: '1 to 128 letters, digits, hyphens or underscores.',
  example: 'trip',
};

export const conversations: ApiResource = {
  tag: 'Conversations',
  description: 'Conversations with a stored history. A turn continues if its client disconnects.',
  parameters: {
    id: conversationId,
    turn: { description: 'The id of the turn, as in the header `sluice-turn`.', example: 'turn_2m4gmfejmm3a' },
  },
  errors: [503],
  routes: describeRoutes(CONVERSATION_ROUTES, {
    'GET /conversations': {
      operation: 'listConversations',
      summary: 'List your conversations, newest first',
      description:
        'Lists the conversations of the account of the credential. Admins list those of another account with `GET /accounts/:id/conversations`. Conversations of subagents are listed only with `parent`.',
      answer: describePageResponse(conversationList, conversationExample, conversationExample.id),
      errors: [],
    },
    'POST /conversations': {
      operation: 'createConversation',
      summary: 'Create a conversation, or import a history',
      description:
        'You can also create a conversation with its first turn: send `conversation` in a Messages request. To import a history, send `messages`, which can be the rows of `GET …/messages` or `GET …/export`. `dropped` in the response counts what was left out. Files that the account does not have are rejected with a 400.',
      body: {
        id: 'ConversationRequest',
        schema: creation,
        example: {
          id: 'trip',
          title: 'A trip in May',
          model: 'claude-haiku-5-5',
          max_tokens: 2_048,
          system: 'You plan journeys by train.',
          metadata: { team: 'travel' },
        },
      },
      answers: { 201: createConversationResponseReference('The new conversation.') },
      errors: [404, 409, 429, 503],
    },
    'GET /conversations/:id': {
      operation: 'getConversation',
      summary: 'Retrieve a conversation',
      answer: createConversationResponseReference('The conversation, without its messages.'),
    },
    'PATCH /conversations/:id': {
      operation: 'updateConversation',
      summary: 'Update a conversation',
      description:
        '`system`, `tools` and `model` cannot be changed, so that the upstream’s prompt cache remains valid.',
      body: {
        id: 'ConversationPatch',
        example: { title: 'Lisbon', history: { max_tokens: 50_000, strategy: 'truncate' } },
      },
      answer: createConversationResponseReference('The updated conversation.'),
      errors: [429, 503],
    },
    'GET /conversations/:id/messages': {
      operation: 'listMessages',
      summary: 'List the messages of a conversation, oldest first',
      answer: describePageResponse(
        createNamedListSchema('ConversationMessageList', messageSchema),
        messageExample,
        messageExample.id,
      ),
    },
    'GET /conversations/:id/turns/:turn': {
      operation: 'getTurn',
      summary: 'Retrieve a turn with its steps, costs and tool calls',
      answer: describeJsonResponse('The turn.', turnSchema, turnExample),
    },
    'DELETE /conversations/:id/turns/:turn': {
      operation: 'cancelTurn',
      summary: 'Cancel a turn',
      answer: describeJsonResponse('The turn. If it had already ended, it is unchanged.', turnSchema, turnExample),
    },
    'GET /conversations/:id/stream': {
      operation: 'resumeTurn',
      summary: 'Resume a stream',
      description:
        'With `last-event-id`, the stream continues after that event. Without it, the stream starts with the first event of the running turn.',
      headers: z.object({
        'last-event-id': z.createOptionalField(z.string(), 'The id of the last event that the client received.'),
      }),
      answers: {
        200: { description: 'The remaining events.', content: [eventStream], headers: ['sluice-turn'] },
        204: { description: 'No turn is running.' },
      },
      errors: [410, 503],
    },
    'POST /conversations/:id/stop': {
      operation: 'stopTurn',
      summary: 'Stop the running turn',
      answer: createConversationResponseReference('The conversation. If no turn was running, it is unchanged.'),
    },
    'POST /conversations/:id/rewind': {
      operation: 'rewindConversation',
      summary: 'Rewind a conversation to before a message',
      body: { schema: rewindRequest, example: { before: 'msg_01rUJBfm6UUf8pMu1YjVbpeB' } },
      answer: createConversationResponseReference(
        'The conversation without the turn of that message and all later turns.',
      ),
      errors: [409, 503],
    },
    'DELETE /conversations/:id': {
      operation: 'deleteConversation',
      summary: 'Delete a conversation',
      answer: describeJsonResponse('Confirms the deletion.', conversationDeleted, {
        type: 'conversation_deleted',
        id: 'trip',
      }),
    },
  }),
};
