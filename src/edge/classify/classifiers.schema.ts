import { messagesRequest } from '../claude/messages.schema.ts';
import { createFieldError } from '../kit/http/validate.ts';
import * as z from '../kit/http/zod.ts';
import { createPutSchemas, createVersionRefSchema } from '../registry/versions/versions.schema.ts';

/** The largest version of a classifier, in the bytes of its stored form. */
export const MAX_CLASSIFIER_BYTES = 256 * 1024;
export const MAX_VOTES = 15;
/** The shortest lifetime of a key in KV: https://developers.cloudflare.com/kv/api/write-key-value-pairs/ */
const MIN_CACHE_SECONDS = 60;
const MAX_CACHE_SECONDS = 30 * 24 * 60 * 60;

export const classifierRef = createVersionRefSchema('classifier');

const name = z.string({ error: createFieldError('Input should be a valid string') }).check(
  z.minLength(1, 'Input should be a non-empty string: the name of a label'),
  z.maxLength(256),
  z.refine((value) => value.trim() === value && value.isWellFormed(), {
    error: 'Input should be well-formed text without white space at its ends',
  }),
);
const text = z.string({ error: createFieldError('Input should be a valid string') });
const label = z.strictObject({
  name: z.addDescription(name, 'The name of the label, at most 256 characters.'),
  description: z.createOptionalField(
    text.check(z.maxLength(2_000)),
    'When the label applies, at most 2,000 characters. The model reads it.',
  ),
  examples: z.createOptionalField(
    z.array(text.check(z.minLength(1), z.maxLength(4_000))).check(z.maxLength(20)),
    'Texts that have this label, at most 20.',
  ),
});
const jsonSchema = z.looseObject({}, { error: 'Input should be a JSON schema: an object' });

/** An example of the whole task: a text and its result. */
const classifierExample = z.strictObject({
  input: z.addDescription(
    text.check(z.minLength(1), z.maxLength(16_000)),
    'The text of the example, at most 16,000 characters.',
  ),
  label: z.createOptionalField(z.nullable(name), 'The label of the example. Null if none of the labels applies.'),
  labels: z.createOptionalField(
    z.array(name),
    'The labels of the example, for a classifier with `multi`, in place of `label`.',
  ),
  fields: z.createOptionalField(z.looseObject({}), 'The values of `fields` for the example.'),
  output: z.createOptionalField(
    z.looseObject({}),
    'The whole object, for a classifier with a `schema`, in place of the other fields.',
  ),
});

export const labels = z
  .array(z.union([name, label], { error: 'Input should be a label: a non-empty string, or an object with a name' }), {
    error: 'Input should be a valid list',
  })
  .check(
    z.minLength(1, 'Input should have at least one label'),
    z.maxLength(500, 'Input should have at most 500 labels'),
  );

/** The parts of a classifier, stored or in a request. It has either `labels` or `schema`. */
export const classifierParts = {
  labels: z.createOptionalField(
    labels,
    'The labels to choose from, 1 to 500: names, or objects with a name. Required unless `schema` is set.',
  ),
  schema: z.createOptionalField(
    jsonSchema,
    'A JSON schema of an object, instead of `labels`. The model returns such an object, which is the `output` of the result. At least one property must be an enum of two or more strings, or an array of such an enum. A schema that is only an enum is a list of labels.',
  ),
  label_property: z.createOptionalField(
    text.check(z.minLength(1), z.maxLength(256)),
    'The property of `schema` that is the label. Default: the property `label`, `labels`, `category`, `class` or `type`, else the first enum in `required`, else the first enum.',
  ),
  multi: z.createOptionalField(z.boolean(), 'Whether a text can have any number of labels instead of exactly one.'),
  allow_none: z.createOptionalField(z.boolean(), 'Whether a text can have no label.'),
  instructions: z.createOptionalField(
    text.check(z.maxLength(20_000)),
    'Additional instructions for the model, at most 20,000 characters.',
  ),
  examples: z.createOptionalField(
    z.array(classifierExample).check(z.maxLength(100)),
    'Examples of inputs with their results, at most 100.',
  ),
  fields: z.createOptionalField(
    jsonSchema,
    'A JSON schema of an object: what to extract from the text in addition to the label.',
  ),
  model: z.createOptionalField(
    messagesRequest.shape.model.check(z.maxLength(256)),
    'The model that classifies. Default: the cheapest current Haiku.',
  ),
  votes: z.createOptionalField(
    z.int().check(z.gte(1), z.lte(MAX_VOTES)),
    'The number of independent votes for each input, 1 to 15. Default: 1.',
  ),
  cache_seconds: z.createOptionalField(
    z.int().check(
      z.lte(MAX_CACHE_SECONDS),
      z.refine((value) => value === 0 || value >= MIN_CACHE_SECONDS, {
        error: `Input should be 0, or from ${MIN_CACHE_SECONDS} to ${MAX_CACHE_SECONDS}`,
      }),
    ),
    'How many seconds a result is cached for the same input. 0: it is not cached. Default: 3,600; with `batch` 0.',
  ),
};

const classifierFields = z.strictObject({
  ...classifierParts,
  description: z.createOptionalField(
    text.check(z.maxLength(1_000)),
    'What the classifier is for, at most 1,000 characters. It is shown in lists and never sent to the model.',
  ),
});

export const putClassifier = createPutSchemas(classifierFields, classifierRef);

export type ClassifierFields = z.output<typeof classifierFields>;
export type ClassifierLabel = z.output<typeof label>;
