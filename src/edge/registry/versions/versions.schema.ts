/** The schemas that all stored things share: names, and versions that never change. */
import * as z from '../../kit/http/zod.ts';
import { HASH, NAME_RULE, parseVersionRef } from '../../kit/kv/version-ref.ts';

/** A member of every `PUT` of a name. */
export const pinnedField = z.object({
  pinned: z.createOptionalField(
    z
      .array(
        z.string().check(z.regex(HASH, { error: 'Input should be the hash of a version: 32 digits, 0-9 and a-f' })),
      )
      .check(z.maxLength(32)),
    'Versions of the name that callers can use in addition to the current one, by the 32-digit hash after the `@`. `[]` unpins all. Default: unchanged.',
  ),
});

/** @param what the kind of thing, for the message: `prefix` */
export function createVersionRefSchema(what: string) {
  return z.string({ error: 'Input should be a string' }).check(
    z.refine((value) => parseVersionRef(value) !== undefined, {
      error: `Input should be the name of the ${what} (${NAME_RULE}), or name@version`,
    }),
  );
}

export const agentRef = createVersionRefSchema('agent');

/** @returns the two bodies of `PUT` for a name: a new version, or a pointer to one that is already stored, newer or older */
export function createPutSchemas<Fields extends z.ZodMiniType>(
  fields: Fields,
  ref: ReturnType<typeof createVersionRefSchema>,
) {
  return {
    fields,
    pointer: z.strictObject({
      version: z.addDescription(
        ref,
        'The stored version that the name should point to: `name@version`, as in the response to a `PUT` or in the list of versions.',
      ),
    }),
  };
}
