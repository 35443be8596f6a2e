import { defaultedRequest } from '../../claude/messages.schema.ts';
import type { RequestFieldDefinition } from '../../claude/request/field-definition.ts';
import type { ListPageQuery } from '../../kit/http/page.ts';
import { createFieldError } from '../../kit/http/validate.ts';
import * as z from '../../kit/http/zod.ts';
import { prefixRef } from '../../registry/prefixes/prefixes.schema.ts';
import { agentRef } from '../../registry/versions/versions.schema.ts';
import { history, MOST_IN_A_TURN, TOO_MANY_IN_A_TURN } from '../history/history.schema.ts';
import { importedMessages } from '../history/imported-messages.schema.ts';

/** The ids of subagents' conversations begin with this. Only the edge makes such ids. */
export const SUBAGENT_ID = 'sub_';
/** The ids of webhooks' conversations begin with this. */
export const HOOK_ID = 'hook_';
/** As the API takes at the most. */
const MAX_MESSAGES = 100_000;
const ID = /^[A-Za-z0-9_-]{1,128}$/;

const conversationId = z
  .string({ error: 'Input should be a string' })
  .check(z.regex(ID, { error: 'Input should be 1 to 128 letters, digits, hyphens or underscores' }));

/** An id that a caller may give. */
export const ownConversationId = conversationId.check(
  z.refine((id) => !id.startsWith(SUBAGENT_ID) && !id.startsWith(HOOK_ID), {
    error: `${SUBAGENT_ID}…, ${HOOK_ID}…: reserved for runs and webhooks. Choose another id`,
  }),
);

/** The conversation that a request is a turn of. */
export const CONVERSATION_MEMBER: RequestFieldDefinition<string> = {
  schema: z.createOptionalField(
    conversationId,
    'The id of the conversation of this turn; also as the header `sluice-conversation`.',
  ),
  header: 'sluice-conversation',
  mayBeNull: true,
  open: ['bound'],
};

/** @returns whether a string can name a conversation. */
export function isConversationId(id: string): boolean {
  return ID.test(id);
}

/** A Messages request to a conversation, which may have defaults for missing members. */
export const conversationRequest = defaultedRequest.check(
  z.refine(({ messages }) => messages.length <= MOST_IN_A_TURN, { path: ['messages'], error: TOO_MANY_IN_A_TURN }),
);

const MONTH_SECONDS = 31 * 24 * 60 * 60;

const title = z.addDescription(
  z.nullable(z.string().check(z.maxLength(1_000))),
  'A title for lists, at most 1,000 characters. Null removes it.',
);
const metadataValue = z.nullable(z.union([z.string().check(z.maxLength(4_096)), z.number(), z.boolean()]));
const metadata = z.addDescription(
  z.nullable(
    z.catchall(z.object({}), metadataValue).check(
      z.refine((value) => Object.keys(value).length <= 64, { error: 'must have at most 64 keys' }),
      z.refine((value) => Object.keys(value).every((key) => key.length <= 256), {
        error: 'must have keys of at most 256 characters',
      }),
    ),
  ),
  'Up to 64 of your own key–value pairs: strings, numbers, booleans or null. They are stored and never sent to the model. Null removes them.',
);
const defaultMaxTokens = z.addDescription(z.int().check(z.gte(0)), 'The `max_tokens` of turns that do not set it.');
const retentionSeconds = z.addDescription(
  z.nullable(z.int().check(z.gte(60), z.lte(120 * MONTH_SECONDS))),
  'How many seconds the conversation is stored after its last change, 60 at least. The maximum is the deployment’s `RETENTION_DAYS` unless an admin sets it. Null for `RETENTION_DAYS`.',
);
export const importedHistory =
  'The initial history: messages, or the rows of another conversation. No request is sent to a model. Roles and content are stored, without thinking. The origin of the messages is not verified.';
/** The body that creates a conversation. Each turn may override these defaults for itself. */
export const createConversation = z.strictObject({
  id: z.createOptionalField(
    ownConversationId,
    '1 to 128 letters, digits, hyphens or underscores, not beginning with `sub_` or `hook_`. Default: a generated id.',
  ),
  title: z.optional(title),
  system: z.createOptionalField(
    z.union(
      [
        z.string(),
        z.array(
          z.looseObject({
            type: z.addDescription(z.enum(['text']), 'Always `text`.'),
            text: z.addDescription(z.string(), 'The text of the block.'),
          }),
        ),
      ],
      {
        error: createFieldError('Input should be a string or a list of text blocks'),
      },
    ),
    'The system prompt of turns that do not set it: a string, or a list of text blocks.',
  ),
  tools: z.createOptionalField(
    z.array(z.looseObject({})),
    'The default tools, for turns that do not set `tools`. Sluice calls the tools with `run`.',
  ),
  messages: z.createOptionalField(
    importedMessages.check(
      z.refine((messages) => messages.length > 0, 'at least one message is required'),
      z.refine((messages) => messages.length <= MAX_MESSAGES, `Input should have at most ${MAX_MESSAGES} messages`),
    ),
    importedHistory,
  ),
  prefix: z.createOptionalField(
    prefixRef,
    'A stored prefix, `name` or `name@version`. The conversation keeps the version to which the name points now.',
  ),
  agent: z.createOptionalField(
    agentRef,
    'A stored agent, `name` or `name@version`. The version to which the name points now is copied. An agent and a prefix cannot be combined.',
  ),
  model: z.createOptionalField(
    z.string().check(z.minLength(1, 'Input should be a non-empty string: the id of a model'), z.maxLength(256)),
    'The model of turns that do not set it: an id or an alias, at most 256 characters.',
  ),
  max_tokens: z.optional(defaultMaxTokens),
  metadata: z.optional(metadata),
  retention_seconds: z.optional(retentionSeconds),
  history: z.optional(history),
});

/** What can be changed. `system`, `tools` and `model` are frozen, so that the upstream's cache keeps hitting. */
export const patchConversation = z.strictObject({
  title: z.optional(title),
  metadata: z.optional(metadata),
  max_tokens: z.createOptionalField(
    z.nullable(defaultMaxTokens),
    'The `max_tokens` of turns that do not set it. Null removes the default.',
  ),
  retention_seconds: z.optional(retentionSeconds),
  history: z.optional(history),
});

export const rewindRequest = z.strictObject({
  before: z.addDescription(
    z.string().check(z.minLength(1), z.maxLength(256)),
    'The id of the first message to remove. Its whole turn is removed, and everything after it.',
  ),
});

export const view = z.createOptionalField(
  z.enum(['stored', 'shown'], { error: 'Input should be stored or shown' }),
  '`shown` returns the steps of a run as the one message that clients received. `stored`, the default, returns each stored message.',
);
export type HistoryViewName = z.output<typeof view>;

/** The query parameters of the list of conversations, in addition to those of every list. */
export const conversationsQuery = z.object({
  parent: z.createOptionalField(
    conversationId,
    'Lists the conversations of the subagents that runs of this conversation called.',
  ),
});

const if_absent = z.createOptionalField(
  z.literal('empty'),
  '`empty` returns an empty list instead of a 404 if the conversation does not exist.',
);

/** The query parameters of `GET …/messages`, in addition to those of every list. */
export const historyQuery = z.object({
  view,
  if_absent,
  pending: z.addDescription(
    z._default(z.enum(['true', 'false'], { error: 'Input should be true or false' }), 'false'),
    'Whether to include the messages of the running turn, which are not part of the history yet.',
  ),
});

/** The query parameters of `GET …/stream`. */
export const resumeQuery = z.object({
  after: z.createOptionalField(z.string(), 'The same as the header, for clients that cannot send it.'),
  show: z.createOptionalField(
    z.enum(['all', 'text'], { error: 'Input should be all or text' }),
    '`all` or `text`, as in a Messages request; also as the header `sluice-show`. Default: the value with which the turn started.',
  ),
  if_absent,
});

export const stopQuery = z.object({
  turn: z.createOptionalField(z.string(), 'The id of the turn to stop. Another turn is not stopped.'),
  key: z.createOptionalField(z.string(), 'The `idempotency-key` of the turn to stop, instead of its id.'),
});
export type StopTurnQuery = z.infer<typeof stopQuery>;

export type HistoryPageQuery = ListPageQuery & { pending?: boolean; view?: HistoryViewName };
export type ConversationFields = z.output<typeof createConversation>;
export type ConversationPatch = z.output<typeof patchConversation>;
