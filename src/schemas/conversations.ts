import * as z from 'zod';
import { fieldError } from './json.ts';
import { messagesRequest } from './messages.ts';
import type { PageQuery } from './page.ts';
import { prefixRef } from './prefixes.ts';

const ID = /^[A-Za-z0-9_-]{1,128}$/;

const conversationId = z.string({ error: 'Input should be a string' }).regex(ID, {
  error: 'Input should be 1 to 128 letters, digits, hyphens or underscores',
});

/** The extension field of a Messages request. */
export const namedConversation = z.object({ conversation: conversationId });

/** @returns whether a string can name a conversation. */
export function isConversationId(id: string): boolean {
  return ID.test(id);
}

/** A Messages request to a conversation, which may give what the request leaves out. */
export const conversationRequest = messagesRequest.extend({
  model: messagesRequest.shape.model.optional(),
  max_tokens: messagesRequest.shape.max_tokens.optional(),
});

const MONTH_SECONDS = 31 * 24 * 60 * 60;

const history = z
  .strictObject({
    max_tokens: z.int().min(1).describe('The most tokens of a prompt, about.'),
    strategy: z.enum(['error', 'truncate']).describe('`truncate` sends without whole oldest turns; all is kept.'),
  })
  .nullable();

const title = z.string().max(1_000).nullable();
const metadata = z
  .record(z.string().max(256), z.union([z.string().max(4_096), z.number(), z.boolean(), z.null()]))
  .refine((value) => Object.keys(value).length <= 64, { error: 'must have at most 64 members' })
  .nullable();
const model = z.string().min(1, 'Input should be a non-empty string: the id of a model').max(256);
const maxTokens = z.int().min(0);
const retentionSeconds = z
  .int()
  .min(60)
  .max(120 * MONTH_SECONDS)
  .nullable()
  .describe(
    'How long after its last change it is kept: at most the deployment’s RETENTION_DAYS, unless an admin says it; null takes those.',
  );
const system = z.union([z.string(), z.array(z.looseObject({ type: z.literal('text'), text: z.string() }))], {
  error: fieldError('Input should be a string or a list of text blocks'),
});
const tools = z.array(z.looseObject({}));

/** What a conversation can be created with; each turn may say otherwise for itself. */
export const createConversation = z.strictObject({
  id: conversationId.optional(),
  title: title.optional(),
  system: system.optional(),
  tools: tools.optional(),
  prefix: prefixRef.optional().describe('The version that it means now is held.'),
  model: model.optional(),
  max_tokens: maxTokens.optional(),
  metadata: metadata.optional(),
  retention_seconds: retentionSeconds.optional(),
  history: history.optional(),
});

/** What can be changed; `system`, `tools` and `model` are frozen, so that the upstream's cache keeps hitting. */
export const patchConversation = z.strictObject({
  title: title.optional(),
  metadata: metadata.optional(),
  max_tokens: maxTokens.nullable().optional(),
  retention_seconds: retentionSeconds.optional(),
  history: history.optional(),
});

export const rewindRequest = z.strictObject({ before: z.string().min(1).max(256) });

export const forkRequest = z.strictObject({
  at: z.string().min(1).max(256).optional(),
  id: conversationId.optional(),
});

/** A conversation in its account's list. */
export const conversationRow = z.object({
  type: z.literal('conversation'),
  id: z.string(),
  title: z.string().nullable(),
  created_at: z.iso.datetime(),
  updated_at: z.iso.datetime(),
  turns: z.int(),
  messages: z.int(),
  cost_usd: z.number(),
  state: z.enum(['idle', 'running']),
});

/** A conversation by itself. */
export const conversationReport = conversationRow.extend({
  turn: z.string().nullable().describe('The turn that runs.'),
  model: z.string().nullable(),
  max_tokens: z.int().nullable(),
  system: z.unknown(),
  tools: z.unknown(),
  prefix: z.string().nullable().describe('name@version: held since it was created.'),
  metadata: z.record(z.string(), z.unknown()).nullable(),
  retention_seconds: z.int().nullable(),
  history,
  usage: z.object({ input_tokens: z.int(), output_tokens: z.int() }),
});

/** What `GET …/messages` takes beside what every list does. */
export const historyQuery = z.object({
  pending: z
    .enum(['true', 'false'], { error: 'Input should be true or false' })
    .default('false')
    .describe('Also what the running turn was asked: it is not part of the history yet.'),
});

export const stopQuery = z.object({
  turn: z.string().optional().describe('The turn that is meant: another one goes on.'),
  key: z.string().optional().describe('The same, by the `idempotency-key` that it was begun with.'),
});
export type StopQuery = z.infer<typeof stopQuery>;

/** A message in the history of a conversation. */
export const messageRow = z.object({
  type: z.literal('message'),
  id: z.string(),
  role: z.enum(['user', 'assistant', 'system']),
  content: z.union([z.string(), z.array(z.looseObject({ type: z.string() }))]),
  usage: z
    .looseObject({ input_tokens: z.int(), output_tokens: z.int() })
    .nullable()
    .describe('As the upstream reported it, on the last message of an answer.'),
  cost_usd: z.number().nullable().describe('US dollars, at most nine decimals.'),
  created_at: z.iso.datetime(),
  status: z
    .enum(['complete', 'stopped', 'interrupted', 'refused', 'running'])
    .describe('How its turn has ended; what was refused is not sent again.'),
});

export const conversationDeleted = z.object({ type: z.literal('conversation_deleted'), id: z.string() });

export type HistoryQuery = PageQuery & { pending?: boolean };
export type ConversationRow = z.output<typeof conversationRow>;
export type ConversationFields = z.output<typeof createConversation>;
export type ConversationPatch = z.output<typeof patchConversation>;
