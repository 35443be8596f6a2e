import * as z from '../http/zod.ts';
import { prefixRef } from '../prefixes/prefixes.schema.ts';
import { classifierParts, classifierRef } from './classifiers.schema.ts';

export const MOST_INPUTS = 256;
/** The longest input, in UTF-8 bytes. */
export const MAX_INPUT_BYTES = 1_048_576;

/** How to label: a stored classifier, or the parts of one. */
const taskFields = {
  classifier: z.described(z.optional(classifierRef), 'A stored classifier: its name, or name@version.'),
  ...classifierParts,
  prefix: z.described(z.optional(prefixRef), 'A stored beginning of the prompt, in front of the labels.'),
};

export const taskAsked = z.strictObject(taskFields);

/** The `input` is not checked here: a wrong one gets its own error, and the others are still labelled. */
const item = z.strictObject({ id: z.string().check(z.minLength(1), z.maxLength(256)), input: z.optional(z.unknown()) });

/** The body of `POST /classify`. */
export const classifyRequest = z
  .strictObject({
    ...taskFields,
    input: z.optional(z.string({ error: 'Input should be a valid string' })),
    inputs: z.optional(
      z
        .array(item)
        .check(
          z.minLength(1, 'Input should have at least one input'),
          z.maxLength(MOST_INPUTS, `Input should have at most ${MOST_INPUTS} inputs`),
        ),
    ),
    stream: z.described(z.optional(z.boolean({ error: 'Input should be a valid boolean' })), 'Server-sent events.'),
  })
  .check(
    z.refine(({ input, inputs }) => (input === undefined) !== (inputs === undefined), {
      error: 'Send `input`, or `inputs` with an id each: one of them.',
    }),
    z.refine(({ inputs = [] }) => new Set(inputs.map(({ id }) => id)).size === inputs.length, {
      error: 'inputs: each needs an id of its own',
    }),
  );

export type TaskAsked = z.output<typeof taskAsked>;
