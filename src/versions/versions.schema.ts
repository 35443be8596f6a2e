/** What all that is stored in versions has in common: names, and versions that never change. */
import * as z from '../http/zod.ts';

const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$/;
const HASH = /^[0-9a-f]{32}$/;
export const NAME_RULE = '1 to 64 letters, digits, hyphens, underscores or dots, with a letter or digit at both ends';

/** What names a version: `support` is the one that the name points to, `support@3f2a…` is that one for ever. */
export interface VersionRef {
  name: string;
  hash?: string | undefined;
}

/** @returns whether a string can be the name of something that is stored in versions. */
export function isVersionedName(name: string): boolean {
  return NAME.test(name);
}

/** @returns what a reference names, or undefined for what cannot be one. */
export function parseRef(ref: string): VersionRef | undefined {
  const at = ref.indexOf('@');
  const name = at < 0 ? ref : ref.slice(0, at);
  if (!NAME.test(name)) return undefined;
  if (at < 0) return { name };
  const hash = ref.slice(at + 1);
  return HASH.test(hash) ? { name, hash } : undefined;
}

/** @param what is named, for the message: `prefix` */
export function refSchema(what: string) {
  return z.string({ error: 'Input should be a string' }).check(
    z.refine((value) => parseRef(value) !== undefined, {
      error: `Input should be the name of a ${what} (${NAME_RULE}), or name@version`,
    }),
  );
}
