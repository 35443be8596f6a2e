import { MAX_VOTES } from '../../classify/classifiers.schema.ts';
import { messagesRequest } from '../../claude/messages.schema.ts';
import * as z from '../../kit/http/zod.ts';

const MOST_EXAMPLES = 256;

const version = z.string({ error: 'Input should be a string' }).check(z.minLength(1), z.maxLength(256));

const evaluationExample = z.strictObject({
  id: z.createOptionalField(
    z.string().check(z.minLength(1), z.maxLength(256)),
    'Default: its place in the list, from 0.',
  ),
  input: z.string({ error: 'Input should be a valid string' }),
  label: z.createOptionalField(z.nullable(z.string()), 'What it should be; null is none of the labels.'),
  labels: z.createOptionalField(z.array(z.string()), 'In place of `label`, for a classifier with `multi`.'),
});

/** The body of `POST /classifiers/:name/evaluate`. */
export const evaluateRequest = z.strictObject({
  examples: z
    .array(evaluationExample, { error: 'Input should be a valid list' })
    .check(
      z.minLength(1, 'Input should have at least one example'),
      z.maxLength(MOST_EXAMPLES, `Input should have at most ${MOST_EXAMPLES} examples`),
    ),
  model: z.createOptionalField(messagesRequest.shape.model.check(z.maxLength(256)), 'Default: the classifier’s.'),
  version: z.createOptionalField(
    version,
    'As name@version, or its part behind the @. Default: what the name points to.',
  ),
  votes: z.optional(z.int().check(z.gte(1), z.lte(MAX_VOTES))),
  stream: z.optional(z.boolean({ error: 'Input should be a valid boolean' })),
});

export type EvaluateRequest = z.output<typeof evaluateRequest>;
