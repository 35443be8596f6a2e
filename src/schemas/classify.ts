import * as z from 'zod';
import { count, usd } from '../http/fields.ts';
import { classifierParts, classifierRef } from './classifiers.ts';
import { prefixRef } from './prefixes.ts';

export const MOST_INPUTS = 256;
/** The longest input, in UTF-8 bytes. */
export const MAX_INPUT_BYTES = 1_048_576;

/** What labels: a stored classifier, or the parts of one. */
const asked = {
  classifier: classifierRef.optional().describe('A stored classifier: its name, or name@version.'),
  ...classifierParts,
  prefix: prefixRef.optional().describe('A stored beginning of the prompt, in front of the labels.'),
};

export const taskAsked = z.strictObject(asked);

/** An input is judged by itself: what is wrong with one is its own error, not that of the others. */
const item = z.strictObject({ id: z.string().min(1).max(256), input: z.unknown().optional() });

/** What `POST /classify` takes. */
export const classifyRequest = z
  .strictObject({
    ...asked,
    input: z.string({ error: 'Input should be a valid string' }).optional(),
    inputs: z
      .array(item)
      .min(1, 'Input should have at least one input')
      .max(MOST_INPUTS, `Input should have at most ${MOST_INPUTS} inputs`)
      .optional(),
    stream: z.boolean({ error: 'Input should be a valid boolean' }).optional().describe('Server-sent events.'),
  })
  .refine(({ input, inputs }) => (input === undefined) !== (inputs === undefined), {
    error: 'Send `input`, or `inputs` with an id each: one of them.',
  })
  .refine(({ inputs = [] }) => new Set(inputs.map(({ id }) => id)).size === inputs.length, {
    error: 'inputs: each needs an id of its own',
  });

export const classifyUsage = z.object({
  input_tokens: count.describe('Neither read from nor written to the cache.'),
  output_tokens: count,
  cache_read_input_tokens: count,
  cache_creation_input_tokens: count,
});

const answered = {
  label: z.string().nullable().optional().describe('One of those given; null is none of them, where that is allowed.'),
  labels: z.array(z.string()).optional().describe('In place of `label`, with `multi`.'),
  confidence: z.number().nullable().describe('The share of the votes that agree; null with one vote.'),
  fields: z.record(z.string(), z.unknown()).nullable(),
  cached: z.boolean().describe('Served from the cache, and free.'),
};
const spent = { usage: classifyUsage, cost_usd: usd, model: z.string() };

/** The answer to one input. */
export const classifyAnswer = z.object({ ...answered, ...spent });

const failure = z.object({ type: z.string(), message: z.string() });

/** The answer to one of several inputs: a label, or an error of its own. */
export const classifyResult = z.object({
  id: z.string(),
  ...answered,
  labels: answered.labels
    .unwrap()
    .nullable()
    .optional()
    .describe('In place of `label`, with `multi`; null in an error.'),
  error: failure.nullable(),
});

/** The answer to several inputs. */
export const classifyResults = z.object({ results: z.array(classifyResult), ...spent });

export type TaskAsked = z.output<typeof taskAsked>;
export type ClassifyAnswer = z.output<typeof classifyAnswer>;
export type ClassifyUsage = z.output<typeof classifyUsage>;
export type ClassifyResult = z.output<typeof classifyResult>;
