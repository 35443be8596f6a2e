/** The schemas that all stored things share: names, and versions that never change. */
import * as z from '../http/zod.ts';

const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$/;
const HASH = /^[0-9a-f]{32}$/;
export const NAME_RULE = '1 to 64 letters, digits, hyphens, underscores or dots, with a letter or digit at both ends';

/** A member of every `PUT` of a name. */
export const pinnedMember = z.object({
  pinned: z.optionally(
    z
      .array(
        z.string().check(z.regex(HASH, { error: 'Input should be the hash of a version: 32 digits, 0-9 and a-f' })),
      )
      .check(z.maxLength(32)),
    'Versions of the name, by the hash behind the `@`, that everybody who sees it may ask for beside the current one. `[]` ends that; without it they stay as they are.',
  ),
});

/** A reference to a version: `support` is the version that the name points to; `support@3f2a…` is always the same version. */
export interface VersionRef {
  name: string;
  hash?: string | undefined;
}

/** @returns whether a string can be the name of a stored thing. */
export function isVersionedName(name: string): boolean {
  return NAME.test(name);
}

/** @returns the name and hash of a reference; undefined if the string cannot be one. */
export function parseRef(ref: string): VersionRef | undefined {
  const at = ref.indexOf('@');
  const name = at < 0 ? ref : ref.slice(0, at);
  if (!NAME.test(name)) return undefined;
  if (at < 0) return { name };
  const hash = ref.slice(at + 1);
  return HASH.test(hash) ? { name, hash } : undefined;
}

/** @param what the kind of thing, for the message: `prefix` */
export function refSchema(what: string) {
  return z.string({ error: 'Input should be a string' }).check(
    z.refine((value) => parseRef(value) !== undefined, {
      error: `Input should be the name of the ${what} (${NAME_RULE}), or name@version`,
    }),
  );
}

/** @returns the two bodies of `PUT` for a name: a new version, or a pointer to one that is already stored, newer or older */
export function putBodies<Fields extends z.ZodMiniType>(fields: Fields, ref: ReturnType<typeof refSchema>) {
  return { fields, pointer: z.strictObject({ version: ref }) };
}
