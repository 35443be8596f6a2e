import * as z from '../kit/http/zod.ts';
import { prefixRef } from '../registry/prefixes/prefixes.schema.ts';
import { classifierParts, classifierRef } from './classifiers.schema.ts';

const MAX_INPUTS = 256;
const MAX_BATCH_INPUTS = 100_000;
/** The longest input, in UTF-8 bytes. */
export const MAX_INPUT_BYTES = 1_048_576;

/** How to label: a stored classifier, or the parts of one. */
const taskFields = {
  classifier: z.createOptionalField(classifierRef, 'A stored classifier: its name, or name@version.'),
  ...classifierParts,
  prefix: z.createOptionalField(prefixRef, 'A stored prefix that is sent before the labels: `name` or `name@version`.'),
};

export const taskRequest = z.strictObject(taskFields);

/** The `input` is not checked here: a wrong one gets its own error, and the others are still labelled. */
const item = z.strictObject({
  id: z.addDescription(
    z.string().check(z.minLength(1), z.maxLength(256)),
    'The id of the result, unique among `inputs`, at most 256 characters.',
  ),
  input: z.createOptionalField(
    z.unknown(),
    'The text to classify, at most 1,048,576 bytes of UTF-8. An invalid input has an error in the results; the others are still classified.',
  ),
});

type InputItem = z.output<typeof item>;

/** @returns inputs as objects: the id of a plain text is its index in the list */
export function toItemsWithIds(inputs: readonly (string | InputItem)[]): InputItem[] {
  return inputs.map((input, index) => (typeof input === 'string' ? { id: String(index), input } : input));
}

export const classifyRequest = z
  .strictObject({
    ...taskFields,
    input: z.createOptionalField(
      z.string({ error: 'Input should be a valid string' }),
      'The text to classify, at most 1,048,576 bytes of UTF-8. Send `input` or `inputs`.',
    ),
    inputs: z.createOptionalField(
      z
        .array(z.union([z.string(), item], { error: 'Input should be a text, or an object with an id and an input' }))
        .check(
          z.minLength(1, 'Input should have at least one input'),
          z.maxLength(MAX_BATCH_INPUTS, `Input should have at most ${MAX_BATCH_INPUTS} inputs`),
        ),
      'The texts to classify: strings, or objects with an id; at most 256, with `batch` 100,000. The id of a string is its index.',
    ),
    stream: z.createOptionalField(
      z.boolean({ error: 'Input should be a valid boolean' }),
      'Whether each result is sent as a server-sent event as soon as it is complete.',
    ),
    batch: z.createOptionalField(
      z.boolean({ error: 'Input should be a valid boolean' }),
      'Whether all `inputs` are classified by a batch, at half price and within a day.',
    ),
    deliver_url: z.createOptionalField(
      z.string({ error: 'Input should be a valid string' }).check(z.maxLength(2_048)),
      'With `batch`: the URL to which the signed event `batch.ended` is sent. Its host must be in `DELIVER_HOSTS`. Default: `BATCH_DELIVER_URL`.',
    ),
  })
  .check(
    z.refine(({ inputs = [], batch }) => batch || inputs.length <= MAX_INPUTS, {
      error: `inputs: at most ${MAX_INPUTS} inputs are supported, or ${MAX_BATCH_INPUTS} with \`batch\``,
    }),
    z.refine(({ inputs, batch, stream }) => !batch || (inputs !== undefined && !stream), {
      error: 'batch: requires `inputs`, and does not support `input` and `stream`. Remove them.',
    }),
    z.refine(({ batch, cache_seconds }) => !batch || cache_seconds === undefined, {
      error: 'cache_seconds: not supported with `batch`. Remove it.',
    }),
    z.refine(({ batch, deliver_url }) => batch || deliver_url === undefined, {
      error: 'deliver_url: supported only with `batch`. Send `batch: true` with it.',
    }),
    z.refine(({ input, inputs }) => (input === undefined) !== (inputs === undefined), {
      error: 'Send either `input`, a text, or `inputs`, a list of texts.',
    }),
    z.refine(({ inputs = [] }) => new Set(toItemsWithIds(inputs).map(({ id }) => id)).size === inputs.length, {
      error: 'inputs: two inputs have the same id. The id of a plain text is its index. Use other ids.',
    }),
  );

export type TaskRequest = z.output<typeof taskRequest>;
