import { messagesRequest } from '../../claude/messages.schema.ts';
import type { RequestFieldDefinition } from '../../claude/request/field-definition.ts';
import { historySetting } from '../../conversations/history/history.schema.ts';
import { createFieldError } from '../../kit/http/validate.ts';
import * as z from '../../kit/http/zod.ts';
import { fallbackModels } from '../../money/budget/limits.schema.ts';
import { createPutSchemas, createVersionRefSchema } from '../versions/versions.schema.ts';

/** The largest version, in the bytes of its stored form. */
export const MAX_PREFIX_BYTES = 20 * 1024 * 1024;
/** The most that the tools of a version may take of this, as much as a whole agent. */
export const MAX_PREFIX_TOOLS_BYTES = 512 * 1024;

export const cacheLifetime = z.enum(['5m', '1h'], { error: "Input should be '5m' or '1h'" });
export const prefixRef = createVersionRefSchema('prefix');

export const PREFIX_MEMBER: RequestFieldDefinition<string> = {
  schema: z.createOptionalField(
    prefixRef,
    'The stored prefix of the prompt: `name` or `name@version`; also as the header `sluice-prefix`.',
  ),
  header: 'sluice-prefix',
  open: ['item', 'count'],
};

const lists = 'Input should be a valid list of objects';
const block = z.looseObject({
  type: z.addDescription(
    z.string({ error: createFieldError('Input should be a valid string') }),
    'The type of the block, such as `text`.',
  ),
});

/** The parts of a version. The content of tools, blocks and messages is checked by the upstream, when it counts them. */
const prefixFields = z.strictObject({
  system: z.createOptionalField(
    z.union([z.string(), z.array(block)], { error: 'Input should be a string or a list of text blocks' }),
    'The system prompt: a string, or a list of text blocks.',
  ),
  tools: z.createOptionalField(
    z.array(z.looseObject({}, { error: lists }), { error: lists }),
    'Tools. In conversations, Sluice calls those with `run`; storing one with a URL needs the scope `tools`.',
  ),
  messages: z.createOptionalField(
    z.array(
      z.looseObject({
        role: z.addDescription(z.string(), 'Who the message is from: `user` or `assistant`.'),
        content: z.addDescription(z.union([z.string(), z.array(block)]), 'A string, or a list of content blocks.'),
      }),
      { error: lists },
    ),
    'Messages that are sent before those of each request, such as examples of good responses.',
  ),
  model: z.createOptionalField(
    messagesRequest.shape.model.check(z.maxLength(256)),
    'The model of requests that do not set `model`.',
  ),
  max_tokens: z.createOptionalField(
    messagesRequest.shape.max_tokens,
    'The `max_tokens` of requests that do not set it.',
  ),
  fallback_models: z.createOptionalField(
    fallbackModels,
    'Models that Sluice tries, in this order, if the requested one is overloaded or the budget does not cover it.',
  ),
  cache_ttl: z.addDescription(
    z._default(cacheLifetime, '5m'),
    'How long the upstream caches the prefix after each use: `5m` (5 minutes) or `1h` (1 hour).',
  ),
  history: z.createOptionalField(
    historySetting,
    'How histories that grow too long are shortened, for conversations that do not set `history` themselves.',
  ),
  description: z.createOptionalField(
    z.string().check(z.maxLength(1_000)),
    'What the prefix is for, at most 1,000 characters. It is shown in lists and never sent to the model.',
  ),
});

export type PrefixFields = z.output<typeof prefixFields>;

export const putPrefix = createPutSchemas(prefixFields, prefixRef);
