import { MAX_VOTES } from '../../classify/classifiers.schema.ts';
import { messagesRequest } from '../../claude/messages.schema.ts';
import * as z from '../../kit/http/zod.ts';

const MOST_EXAMPLES = 256;

const version = z.string({ error: 'Input should be a string' }).check(z.minLength(1), z.maxLength(256));

const evaluationExample = z.strictObject({
  id: z.createOptionalField(
    z.string().check(z.minLength(1), z.maxLength(256)),
    'The id by which the report names the example. Default: its index in the list.',
  ),
  input: z.addDescription(z.string({ error: 'Input should be a valid string' }), 'The text of the example.'),
  label: z.createOptionalField(z.nullable(z.string()), 'The expected label. Null if none of the labels applies.'),
  labels: z.createOptionalField(
    z.array(z.string()),
    'The expected labels, for a classifier with `multi`, in place of `label`.',
  ),
});

/** The body of `POST /classifiers/:name/evaluate`. */
export const evaluateRequest = z.strictObject({
  examples: z.addDescription(
    z
      .array(evaluationExample, { error: 'Input should be a valid list' })
      .check(
        z.minLength(1, 'Input should have at least one example'),
        z.maxLength(MOST_EXAMPLES, `Input should have at most ${MOST_EXAMPLES} examples`),
      ),
    'The examples to evaluate, 1 to 256, each with its expected label or labels.',
  ),
  model: z.createOptionalField(
    messagesRequest.shape.model.check(z.maxLength(256)),
    'The model to evaluate with. Default: the classifier’s.',
  ),
  version: z.createOptionalField(
    version,
    'The version to evaluate: `name@version`, or the hash after the `@`. Default: the current version.',
  ),
  votes: z.createOptionalField(
    z.int().check(z.gte(1), z.lte(MAX_VOTES)),
    'The number of independent votes for each example, 1 to 15. Default: the classifier’s.',
  ),
  stream: z.createOptionalField(
    z.boolean({ error: 'Input should be a valid boolean' }),
    'Whether progress and the report are sent as server-sent events.',
  ),
});

export type EvaluateRequest = z.output<typeof evaluateRequest>;
