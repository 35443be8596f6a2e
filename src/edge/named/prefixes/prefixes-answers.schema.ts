import { count, usd } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { storedVersion } from '../versions/versions-answers.schema.ts';
import { putPrefix } from './prefixes.schema.ts';

/** The answer to a `PUT`: the version that the name points to now, and what it costs. */
export const prefixAnswer = z.object({
  ...z.omit(z.object(storedVersion('prefix')), { owner: true }).shape,
  model: z.string(),
  input_tokens: z.int(),
  minimum_cacheable_tokens: z.described(z.nullable(z.int()), 'null: the model is not in the table.'),
  warnings: z.array(z.string()),
  notes: z.described(z.array(z.string()), 'How it is cached.'),
  cost_usd: z.nullable(
    z.object({
      cold: z.described(usd, 'For each request without caching.'),
      write: z.described(usd, 'For the request that writes it to the cache.'),
      read: z.described(usd, 'For each request that reads it from there.'),
    }),
  ),
  pays_from_requests: z.described(z.nullable(z.int()), 'Requests within one lifetime from which caching is cheaper.'),
});

export const prefixContent = z.object({ ...storedVersion('prefix'), ...putPrefix.fields.shape });

export const prefixDeleted = z.object({ type: z.literal('prefix_deleted'), name: z.string() });

const savings = {
  requests: z.int(),
  answered: z.described(z.int(), 'Requests of which the upstream said what their prompt came to.'),
  cache_writes: z.described(z.int(), 'Requests that wrote to the cache.'),
  cache_reads: z.described(z.int(), 'Requests that read from it.'),
  hit_rate: z.described(z.nullable(z.number()), 'Of the answered requests, the share that read from the cache.'),
  input_tokens: z.described(count, 'Neither read from nor written to the cache.'),
  cache_read_input_tokens: count,
  cache_write_5m_input_tokens: count,
  cache_write_1h_input_tokens: count,
  tokens_saved: z.described(count, 'Tokens that were read from the cache in place of being processed again.'),
  saved_usd: z.described(usd, 'Against the same requests without caching; negative where it has lost money.'),
};

/** What a prefix has saved, by day and version. */
export const prefixStats = z.object({
  name: z.string(),
  owner: z.enum(['account', 'deployment']),
  from: z.nullable(z.iso.date()),
  to: z.nullable(z.iso.date()),
  data: z.array(z.object({ day: z.iso.date(), version: z.string(), ...savings })),
  total: z.object(savings),
});

export type PrefixAnswer = z.output<typeof prefixAnswer>;
export type PrefixStats = z.output<typeof prefixStats>;
