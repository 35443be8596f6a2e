import * as z from 'zod';
import { count, usd } from '../http/fields.ts';
import { fieldError } from './json.ts';
import { messagesRequest } from './messages.ts';
import { nameRow, refSchema } from './versions.ts';

/** The largest version, as it is stored. */
export const MAX_PREFIX_BYTES = 20 * 1024 * 1024;

export const prefixRef = refSchema('prefix');

/** The extension field of a request. */
export const namedPrefix = z.object({ prefix: prefixRef });

const lists = 'Input should be a valid list of objects';
const block = z.looseObject({ type: z.string({ error: fieldError('Input should be a valid string') }) });

/** What a version is made of. What is in tools, blocks and messages is the upstream's to judge, when it counts them. */
const prefixFields = z.strictObject({
  system: z
    .union([z.string(), z.array(block)], { error: 'Input should be a string or a list of text blocks' })
    .optional(),
  tools: z.array(z.looseObject({}, { error: lists }), { error: lists }).optional(),
  messages: z
    .array(z.looseObject({ role: z.string(), content: z.union([z.string(), z.array(block)]) }), { error: lists })
    .optional(),
  model: messagesRequest.shape.model.max(256).optional().describe('The model of requests that name none.'),
  max_tokens: messagesRequest.shape.max_tokens.optional().describe('`max_tokens` of requests that have none.'),
  cache_ttl: z
    .enum(['5m', '1h'], { error: "Input should be '5m' or '1h'" })
    .default('5m')
    .describe('How long the upstream keeps it cached after each use.'),
  description: z.string().max(1_000).optional(),
});

export type PrefixFields = z.output<typeof prefixFields>;
export type CacheTtl = PrefixFields['cache_ttl'];

/** Points the name at a version that there is already: forward or back. */
const pointer = z.strictObject({ version: prefixRef });

/** What `PUT /prefixes/:name` takes. */
export const putPrefix = { fields: prefixFields, pointer };

/** What a `PUT` tells about the version that the name points to now. */
export const prefixAnswer = z.object({
  type: z.literal('prefix'),
  name: z.string(),
  version: z.string().describe('name@version: for ever the same.'),
  model: z.string(),
  input_tokens: z.int(),
  minimum_cacheable_tokens: z.int().nullable().describe('null: the model is not in the table.'),
  warnings: z.array(z.string()),
  notes: z.array(z.string()).describe('How it is cached.'),
  cost_usd: z
    .object({
      cold: usd.describe('For each request without caching.'),
      write: usd.describe('For the request that writes it to the cache.'),
      read: usd.describe('For each request that reads it from there.'),
    })
    .nullable(),
  pays_from_requests: z.int().nullable().describe('Requests within one lifetime from which caching is cheaper.'),
});

/** A version as it is stored. */
export const prefixContent = z.object({
  type: z.literal('prefix'),
  name: z.string(),
  version: z.string().describe('name@version: for ever the same.'),
  owner: nameRow.shape.owner,
  ...prefixFields.shape,
});

export const prefixDeleted = z.object({ type: z.literal('prefix_deleted'), name: z.string() });

/** A request that may leave to a prefix what that prefix gives. */
export const prefixedRequest = messagesRequest.extend({
  model: messagesRequest.shape.model.optional(),
  max_tokens: messagesRequest.shape.max_tokens.optional(),
});

const savings = {
  requests: z.int(),
  answered: z.int().describe('Requests of which the upstream said what their prompt came to.'),
  cache_writes: z.int().describe('Requests that wrote to the cache.'),
  cache_reads: z.int().describe('Requests that read from it.'),
  hit_rate: z.number().nullable().describe('Of the answered requests, the share that read from the cache.'),
  input_tokens: count.describe('Neither read from nor written to the cache.'),
  cache_read_input_tokens: count,
  cache_write_5m_input_tokens: count,
  cache_write_1h_input_tokens: count,
  tokens_saved: count.describe('Tokens that were read from the cache in place of being processed again.'),
  saved_usd: usd.describe('Against the same requests without caching; negative where it has lost money.'),
};

/** What a prefix has saved, by day and version. */
export const prefixStats = z.object({
  name: z.string(),
  owner: z.enum(['account', 'deployment']),
  from: z.iso.date().nullable(),
  to: z.iso.date().nullable(),
  data: z.array(z.object({ day: z.iso.date(), version: z.string(), ...savings })),
  total: z.object(savings),
});

export type PrefixAnswer = z.output<typeof prefixAnswer>;
export type Savings = z.output<typeof prefixStats>['total'];
export type PrefixStats = z.output<typeof prefixStats>;
