import { createObjectTypeSchema, usd } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { createStoredVersionFields } from '../versions/versions-answers.schema.ts';
import { putPrefix } from './prefixes.schema.ts';

/** The answer to a `PUT`: the version that the name points to now, and what it costs. */
export const prefixAnswer = z.object({
  ...z.omit(z.object(createStoredVersionFields('prefix')), { owner: true }).shape,
  model: z.addDescription(z.string(), 'The id of the model for which the prefix was counted.'),
  input_tokens: z.addDescription(z.int(), 'The number of tokens of the prefix.'),
  minimum_cacheable_tokens: z.addDescription(
    z.nullable(z.int()),
    'The fewest tokens that the model caches. Null if the model is not in the model table.',
  ),
  warnings: z.addDescription(
    z.array(z.string()),
    'Problems with caching, MCP tools that were left out, and schemas that Claude will reject.',
  ),
  notes: z.addDescription(z.array(z.string()), 'How the prefix is cached.'),
  cost_usd: z.addDescription(
    z.nullable(
      z.object({
        cold: z.addDescription(usd, 'The cost of each request without caching, in US dollars.'),
        write: z.addDescription(usd, 'The cost of the request that writes the prefix to the cache, in US dollars.'),
        read: z.addDescription(usd, 'The cost of each request that reads the prefix from the cache, in US dollars.'),
      }),
    ),
    'The cost of the prefix per request. Null if the price of the model is unknown.',
  ),
  pays_from_requests: z.addDescription(
    z.nullable(z.int()),
    'The number of requests within one cache lifetime from which caching is cheaper. Null if unknown.',
  ),
});

export const prefixContent = z.object({ ...createStoredVersionFields('prefix'), ...putPrefix.fields.shape });

export const prefixDeleted = z.object({
  type: createObjectTypeSchema('prefix_deleted'),
  name: z.addDescription(z.string(), 'The name of the deleted prefix.'),
});

export type PrefixResponse = z.output<typeof prefixAnswer>;
