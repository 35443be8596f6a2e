import * as z from '../http/zod.ts';

/** The most characters, as JSON, of an input that replaces the one of a call. */
const MOST_INPUT_CHARACTERS = 262_144;

/** What a person decides about a call. */
export const decisionRequest = z
  .strictObject({
    decision: z.enum(['approve', 'deny'], { error: 'Input should be approve or deny' }),
    reason: z.optionally(z.string().check(z.minLength(1), z.maxLength(4_000)), 'Why it is denied: the model is told.'),
    input: z.optionally(
      z.looseObject({}, { error: 'Input should be an object: what the tool is called with' }).check(
        z.refine((input) => JSON.stringify(input).length <= MOST_INPUT_CHARACTERS, {
          error: `Input should have at most ${MOST_INPUT_CHARACTERS} characters`,
        }),
      ),
      'What the tool is called with, in place of what the model said; the model is told.',
    ),
  })
  .check(
    z.refine(({ decision, input }) => decision === 'approve' || input === undefined, {
      path: ['input'],
      error: 'only with `approve`: a call that is denied is not made',
    }),
  );
export type DecisionRequest = z.output<typeof decisionRequest>;

/** Whose conversation is meant: an admin may decide for any account. */
export const approvalsQuery = z.object({
  account: z.optionally(z.string(), 'Another account’s conversation; an admin may ask.'),
});
