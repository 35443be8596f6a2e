import * as z from '../../../kit/http/zod.ts';
import { parseJsonObject } from '../../../kit/json/object.ts';

/** The most characters, as JSON, of an input that replaces the one of a call. */
const MOST_INPUT_CHARACTERS = 262_144;

/** A person's decision about a call. */
export const decisionRequest = z
  .strictObject({
    decision: z.addDescription(
      z.enum(['approve', 'deny'], { error: 'Input should be approve or deny' }),
      '`approve` makes the call, `deny` returns an error to the model in its place.',
    ),
    reason: z.createOptionalField(
      z.string().check(z.minLength(1), z.maxLength(4_000)),
      'Why the call is denied. The model reads it.',
    ),
    input: z.createOptionalField(
      z.looseObject({}, { error: 'Input should be an object: what the tool is called with' }).check(
        z.refine((input) => JSON.stringify(input).length <= MOST_INPUT_CHARACTERS, {
          error: `Input should have at most ${MOST_INPUT_CHARACTERS} characters`,
        }),
      ),
      'The input of the call, which replaces the model’s input. The model is informed. Only with `approve`.',
    ),
    input_text: z.createOptionalField(
      z.string().check(
        z.maxLength(MOST_INPUT_CHARACTERS),
        z.refine((text) => parseJsonObject(text) !== undefined, {
          error: 'Input should be the JSON text of an object',
        }),
      ),
      'The same as JSON text, which the tool receives unchanged. Send `input` or `input_text`, not both.',
    ),
  })
  .check(
    z.refine(({ decision, input, input_text }) => decision === 'approve' || (input ?? input_text) === undefined, {
      path: ['input'],
      error: 'supported only with `approve`, because a denied call is not made',
    }),
    z.refine(({ input, input_text }) => input === undefined || input_text === undefined, {
      path: ['input_text'],
      error: 'send it or `input`, not both',
    }),
  );

/** Whose conversation is meant: an admin may decide for any account. */
export const approvalsQuery = z.object({
  account: z.createOptionalField(z.string(), 'The account of the conversation. Only admins can name another account.'),
});
