import { count, usd } from '../kit/http/fields.ts';
import * as z from '../kit/http/zod.ts';

export const classifyUsage = z.object({
  input_tokens: z.addDescription(count, 'Input tokens that were neither read from nor written to the cache.'),
  output_tokens: z.addDescription(count, 'Output tokens.'),
  cache_read_input_tokens: z.addDescription(count, 'Input tokens that were read from the cache.'),
  cache_creation_input_tokens: z.addDescription(count, 'Input tokens that were written to the cache.'),
});

export const classifiedFields = {
  label: z.createOptionalField(z.nullable(z.string()), 'The label. Null if none of the labels applies.'),
  labels: z.createOptionalField(z.array(z.string()), 'The labels, instead of `label`, for a classifier with `multi`.'),
  confidence: z.createOptionalField(
    z.number(),
    'The share of the votes that agree, from 0 to 1, if there were several `votes`.',
  ),
  fields: z.createOptionalField(
    z.nullable(z.record(z.string(), z.unknown())),
    'The extracted values, for a classifier with `fields`. Null if there is an error.',
  ),
  output: z.createOptionalField(
    z.nullable(z.record(z.string(), z.unknown())),
    'The whole object, for a classifier with a `schema`. Null if there is an error.',
  ),
  cached: z.addDescription(z.boolean(), 'Whether the result is from Sluice’s cache and therefore free.'),
};
const spent = {
  usage: z.addDescription(classifyUsage, 'The tokens that were used.'),
  cost_usd: z.addDescription(usd, 'The cost in US dollars.'),
  model: z.addDescription(z.string(), 'The id of the model that classified the text.'),
};

export const classifyAnswer = z.object({ ...classifiedFields, ...spent });

const failure = z.object({
  type: z.addDescription(z.string(), 'The type of the error, such as `rate_limit_error`.'),
  message: z.addDescription(z.string(), 'A sentence that explains the error.'),
});

/** The answer to one of several inputs: a label, or its own error. */
export const classifyResult = z.object({
  id: z.addDescription(z.string(), 'The id of the input.'),
  ...classifiedFields,
  labels: z.createOptionalField(
    z.nullable(z.array(z.string())),
    'The labels, instead of `label`, for a classifier with `multi`. Null if there is an error.',
  ),
  error: z.addDescription(z.nullable(failure), 'Why this input was not classified. Null if the input was classified.'),
});

export const classifyResults = z.object({
  results: z.addDescription(z.array(classifyResult), 'A result for each of the `inputs`, in their order.'),
  ...spent,
});

export type ClassifyAnswer = z.output<typeof classifyAnswer>;
/** The part of an answer that is cached. Its cost is not, because a cached answer costs nothing. */
export type CacheableClassification = Pick<ClassifyAnswer, 'label' | 'labels' | 'confidence' | 'fields' | 'output'>;
export type ClassifyUsage = z.output<typeof classifyUsage>;
export type ClassifyResult = z.output<typeof classifyResult>;
