import { messagesRequest } from '../../claude/messages.schema.ts';
import type { RequestFieldDefinition } from '../../claude/request/field-definition.ts';
import { historySetting } from '../../conversations/history/history.schema.ts';
import { createFieldError } from '../../kit/http/validate.ts';
import * as z from '../../kit/http/zod.ts';
import { fallbackModels } from '../../money/budget/limits.schema.ts';
import { createPutSchemas, createVersionRefSchema } from '../versions/versions.schema.ts';

/** The largest version, in the bytes of its stored form. */
export const MAX_PREFIX_BYTES = 20 * 1024 * 1024;

export const prefixRef = createVersionRefSchema('prefix');

export const PREFIX_MEMBER: RequestFieldDefinition<string> = {
  schema: z.createOptionalField(
    prefixRef,
    'The stored prefix that stands in front: `name` or `name@version`; also as the header `sluice-prefix`.',
  ),
  header: 'sluice-prefix',
  open: ['item', 'count'],
};

const lists = 'Input should be a valid list of objects';
const block = z.looseObject({ type: z.string({ error: createFieldError('Input should be a valid string') }) });

/** The parts of a version. The content of tools, blocks and messages is checked by the upstream, when it counts them. */
const prefixFields = z.strictObject({
  system: z.optional(
    z.union([z.string(), z.array(block)], { error: 'Input should be a string or a list of text blocks' }),
  ),
  tools: z.createOptionalField(
    z.array(z.looseObject({}, { error: lists }), { error: lists }),
    'Tools. The edge itself calls those with `run`, in conversations; to store one with an address needs the scope `tools`.',
  ),
  messages: z.optional(
    z.array(z.looseObject({ role: z.string(), content: z.union([z.string(), z.array(block)]) }), { error: lists }),
  ),
  model: z.createOptionalField(
    messagesRequest.shape.model.check(z.maxLength(256)),
    'The model of requests that name none.',
  ),
  max_tokens: z.createOptionalField(messagesRequest.shape.max_tokens, '`max_tokens` of requests that have none.'),
  fallback_models: z.createOptionalField(
    fallbackModels,
    'Models that step in where the asked one is overloaded, or the budget does not pay for it.',
  ),
  cache_ttl: z.addDescription(
    z._default(z.enum(['5m', '1h'], { error: "Input should be '5m' or '1h'" }), '5m'),
    'How long the upstream keeps it cached after each use.',
  ),
  history: z.createOptionalField(
    historySetting,
    'What happens to the histories of its conversations that grow too long, unless they say it.',
  ),
  description: z.optional(z.string().check(z.maxLength(1_000))),
});

export type PrefixFields = z.output<typeof prefixFields>;
export type CacheTtl = PrefixFields['cache_ttl'];

export const putPrefix = createPutSchemas(prefixFields, prefixRef);
