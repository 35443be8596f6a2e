import { countFields, defaultedRequest, messageParam, messagesRequest } from '../claude/messages.schema.ts';
import { collectFieldSchemas, createFieldOpenToTest } from '../claude/request/all-fields.ts';
import { turnSchema } from '../conversations/object/conversations.reference.ts';
import { createObjectTypeSchema } from '../kit/http/fields.ts';
import * as z from '../kit/http/zod.ts';
import { memoizeFromPlugins } from '../kit/plugins/plugins.ts';
import { eventStream } from '../openapi/event-stream.ts';
import { type ApiResource, type BodyContent, describeRoutes } from '../openapi/resource.ts';
import { describeJsonResponse } from '../openapi/responses.ts';
import { toolKinds } from '../registry/tools/tool-kind.ts';
import { COUNT_ROUTES } from './count-tokens.route.ts';
import { countAnswer } from './count-tokens-answers.schema.ts';
import { MESSAGE_ROUTES } from './messages.route.ts';

const messageList = z.addDescription(
  z.array(messageParam).check(z.minLength(1)),
  'The messages. In a conversation, send only the new ones.',
);

const ask = {
  model: 'claude-haiku-5-5',
  max_tokens: 2_048,
  messages: [{ role: 'user', content: 'Hello, who are you?' }],
};

/** Members that Sluice checks or adds. Anthropic describes the others, which are forwarded unchanged. */
const body = memoizeFromPlugins(() =>
  z.addReferenceMeta(
    z.addDescription(
      z.safeExtend(defaultedRequest, {
        model: z.createOptionalField(
          messagesRequest.shape.model,
          'The id of a model, or an alias of this deployment. A conversation, a prefix or an agent can supply it.',
        ),
        max_tokens: z.createOptionalField(
          messagesRequest.shape.max_tokens,
          'The most output tokens to generate. A conversation, a prefix or an agent can supply it.',
        ),
        messages: messageList,
        stream: z.addDescription(
          messagesRequest.shape.stream,
          'Whether the response is a stream of events. Default: true on `/messages`, false on `/v1/messages`. Null counts as false.',
        ),
        tools: z.createOptionalField(
          z.array(z.looseObject({ run: z.optional(z.union(toolKinds().flatMap(({ schemas = [] }) => schemas))) })),
          'The tools. In a conversation, Sluice calls tools with `run`: at a URL (which requires the scope `tools`), or with `"worker"` a tool of the Worker’s own code, for which the `name` is enough.',
        ),
        ...collectFieldSchemas(),
      }),
      'A Messages request. All other fields of Anthropic’s API are forwarded unchanged. The header `sluice-fallback-models` names fallback models.',
    ),
    { id: 'MessagesRequest' },
  ),
);
/** Made when it is read: the plugins must be known. */
const members = {
  get schema() {
    return body();
  },
  example: ask,
};

const message = z.addReferenceMeta(
  z.addDescription(
    z.looseObject({
      id: z.addDescription(z.string(), 'The id of the message, such as `msg_01XFDUDYJgAACzvnptvVoYEL`.'),
      type: createObjectTypeSchema('message'),
      role: z.addDescription(z.literal('assistant'), 'Always `assistant`.'),
      model: z.addDescription(z.string(), 'The id of the model that responded.'),
      content: z.addDescription(
        z.array(
          z.looseObject({
            type: z.addDescription(z.string(), 'The type of the block, such as `text`, `thinking` or `tool_use`.'),
          }),
        ),
        'The content blocks, as in Anthropic’s API.',
      ),
      stop_reason: z.addDescription(
        z.nullable(z.string()),
        'Why generation ended, for example `end_turn`, `max_tokens`, `tool_use` or `refusal`. Null if generation has not ended.',
      ),
      stop_sequence: z.addDescription(
        z.nullable(z.string()),
        'The stop sequence at which generation ended. Null if generation ended for another reason.',
      ),
      usage: z.addDescription(
        z.looseObject({
          input_tokens: z.addDescription(z.int(), 'Input tokens that were neither read from nor written to the cache.'),
          output_tokens: z.addDescription(z.int(), 'Output tokens, thinking included.'),
        }),
        'The tokens that the response used, as in Anthropic’s API.',
      ),
    }),
    'A message, as in Anthropic’s API.',
  ),
  { id: 'Message' },
);

const headers = [
  'sluice-cost-usd',
  'sluice-budget-used',
  'sluice-budget-fits',
  'sluice-max-tokens',
  'sluice-lowered-by',
  'sluice-turn',
  'sluice-model-retires',
  'sluice-upstream',
  'sluice-fallback-from',
  'anthropic-ratelimit-requests-remaining',
] as const;

const whole: BodyContent = {
  schema: message,
  example: {
    id: 'msg_01XFDUDYJgAACzvnptvVoYEL',
    type: 'message',
    role: 'assistant',
    model: 'claude-haiku-5-5',
    content: [{ type: 'text', text: 'I am Claude.' }],
    stop_reason: 'end_turn',
    stop_sequence: null,
    usage: { input_tokens: 13, output_tokens: 5 },
  },
};

const requestHeaders = z.object({
  'idempotency-key': z.createOptionalField(
    z.string().check(z.maxLength(256)),
    'In a conversation, a repeated request attaches to the turn that the first request started. Without a conversation, `POST /messages` rejects the header, and `POST /v1/messages` ignores it, as the API does.',
  ),
  'sluice-stream-cost': z.createOptionalField(
    z.literal('true'),
    'Adds comments about the cost and the budget after the last event of a stream, as in the example. The streams of conversations always contain these comments.',
  ),
  'anthropic-version': z.createOptionalField(z.string(), 'The version of the API. Default: `2023-06-01`.'),
  'anthropic-beta': z.createOptionalField(z.string(), 'Beta features of the API. Forwarded unchanged.'),
});

const answer = {
  description: 'The message, as one object or as events. An interrupted stream ends with an `error` event.',
  headers,
  hasPluginHeaders: true,
};

/** With `background`: the turn, which continues by itself. */
const begun = {
  202: {
    description: 'The turn in the background, as `GET /conversations/:id/turns/:turn` returns it.',
    content: [
      {
        schema: turnSchema,
        example: {
          type: 'turn',
          id: 'turn_2m4gmfejmm3a',
          continues: null,
          conversation: 'trip',
          status: 'running',
          paused: null,
          error: null,
          began_at: '2026-11-20T10:06:16.310Z',
          ended_at: null,
          cost_usd: 0,
          steps: [],
        },
      },
    ],
    headers: ['sluice-turn'],
  },
} as const;

const route = { needs: 'messages', headers: requestHeaders, errors: [404, 409, 423, 429, 503, 504, 529] } as const;

export const messages: ApiResource = {
  tag: 'Messages',
  description:
    'The Messages API. Requests are forwarded unchanged and metered. With `conversation`, messages are also stored.',
  routes: describeRoutes(MESSAGE_ROUTES, {
    'POST /messages': {
      ...route,
      operation: 'streamMessage',
      summary: 'Stream a message',
      description: 'The same as `POST /v1/messages`, but the response streams unless `stream` is false.',
      body: members,
      answer: { ...answer, content: [eventStream, whole] },
      answers: begun,
    },
    'POST /v1/messages': {
      ...route,
      operation: 'createMessage',
      summary: 'Create a message',
      description: 'As in Anthropic’s API: with `"stream": true` the response is a stream of events.',
      body: members,
      answer: { ...answer, content: [whole, eventStream] },
      answers: begun,
    },
  }),
};

const countBody = memoizeFromPlugins(() =>
  z.addReferenceMeta(
    z.extend(countFields, {
      model: z.createOptionalField(
        messagesRequest.shape.model,
        'The model whose tokens are counted: an id, or an alias of this deployment. Default: that of the conversation, prefix or agent.',
      ),
      max_tokens: z.addDescription(
        countFields.shape.max_tokens,
        'Ignored with a `conversation`. Otherwise the API rejects it, because output is not counted.',
      ),
      messages: messageList,
      stream: z.addDescription(
        countFields.shape.stream,
        'Ignored with a `conversation` or an `agent`. Otherwise the API rejects it, because a count does not stream.',
      ),
      ...collectFieldSchemas(createFieldOpenToTest('count')),
    }),
    { id: 'CountRequest' },
  ),
);

const countRoute = {
  summary: 'Count the tokens of a prompt',
  body: {
    get schema() {
      return countBody();
    },
    example: { model: 'claude-haiku-5-5', messages: [{ role: 'user', content: 'How long is this prompt?' }] },
  },
  answer: describeJsonResponse(
    'The number of tokens, and whether the prompt fits the context window.',
    z.addReferenceMeta(countAnswer, { id: 'Count' }),
    {
      input_tokens: 13,
      context_window: 1_000_000,
      fits: true,
      cost_usd: { input: 1.3e-6, cache_write_5m: 1.625e-6, cache_write_1h: 2.6e-6, cache_read: 1.3e-7 },
    },
  ),
  errors: [404, 429, 501, 503, 504, 529],
} as const;

export const counts: ApiResource = {
  tag: 'Counts',
  description: 'Counts the tokens of a prompt and computes their cost. Counting is free.',
  routes: describeRoutes(COUNT_ROUTES, {
    'POST /count-tokens': { ...countRoute, operation: 'countTokens' },
    'POST /v1/messages/count_tokens': { ...countRoute, operation: 'countMessageTokens' },
  }),
};
