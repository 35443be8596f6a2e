import { count, usd } from '../kit/http/fields.ts';
import * as z from '../kit/http/zod.ts';

export const classifyUsage = z.object({
  input_tokens: z.addDescription(count, 'Neither read from nor written to the cache.'),
  output_tokens: count,
  cache_read_input_tokens: count,
  cache_creation_input_tokens: count,
});

export const classifiedFields = {
  label: z.createOptionalField(
    z.nullable(z.string()),
    'One of those given; null is none of them, where that is allowed.',
  ),
  labels: z.createOptionalField(z.array(z.string()), 'In place of `label`, with `multi`.'),
  confidence: z.addDescription(z.nullable(z.number()), 'The share of the votes that agree; null with one vote.'),
  fields: z.nullable(z.record(z.string(), z.unknown())),
  output: z.createOptionalField(
    z.nullable(z.record(z.string(), z.unknown())),
    'With a `schema`: the whole object; null in an error.',
  ),
  cached: z.addDescription(z.boolean(), 'Served from the cache, and free.'),
};
const spent = { usage: classifyUsage, cost_usd: usd, model: z.string() };

export const classifyAnswer = z.object({ ...classifiedFields, ...spent });

const failure = z.object({ type: z.string(), message: z.string() });

/** The answer to one of several inputs: a label, or its own error. */
export const classifyResult = z.object({
  id: z.string(),
  ...classifiedFields,
  labels: z.createOptionalField(
    z.nullable(z.array(z.string())),
    'In place of `label`, with `multi`; null in an error.',
  ),
  error: z.nullable(failure),
});

export const classifyResults = z.object({ results: z.array(classifyResult), ...spent });

export type ClassifyAnswer = z.output<typeof classifyAnswer>;
/** The part of an answer that is cached. Its cost is not, because a cached answer costs nothing. */
export type CacheableClassification = Pick<ClassifyAnswer, 'label' | 'labels' | 'confidence' | 'fields' | 'output'>;
export type ClassifyUsage = z.output<typeof classifyUsage>;
export type ClassifyResult = z.output<typeof classifyResult>;
