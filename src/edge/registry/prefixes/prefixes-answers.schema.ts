import { createObjectTypeSchema, usd } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { createStoredVersionFields } from '../versions/versions-answers.schema.ts';
import { putPrefix } from './prefixes.schema.ts';

/** The answer to a `PUT`: the version that the name points to now, and what it costs. */
export const prefixAnswer = z.object({
  ...z.omit(z.object(createStoredVersionFields('prefix')), { owner: true }).shape,
  model: z.string(),
  input_tokens: z.int(),
  minimum_cacheable_tokens: z.addDescription(z.nullable(z.int()), 'null: the model is not in the table.'),
  warnings: z.array(z.string()),
  notes: z.addDescription(z.array(z.string()), 'How it is cached.'),
  cost_usd: z.nullable(
    z.object({
      cold: z.addDescription(usd, 'For each request without caching.'),
      write: z.addDescription(usd, 'For the request that writes it to the cache.'),
      read: z.addDescription(usd, 'For each request that reads it from there.'),
    }),
  ),
  pays_from_requests: z.addDescription(
    z.nullable(z.int()),
    'Requests within one lifetime from which caching is cheaper.',
  ),
});

export const prefixContent = z.object({ ...createStoredVersionFields('prefix'), ...putPrefix.fields.shape });

export const prefixDeleted = z.object({ type: createObjectTypeSchema('prefix_deleted'), name: z.string() });

export type PrefixResponse = z.output<typeof prefixAnswer>;
