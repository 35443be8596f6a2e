/** The names of stored things, and references to their versions. */

const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$/;
export const HASH = /^[0-9a-f]{32}$/;
export const NAME_RULE = '1 to 64 letters, digits, hyphens, underscores or dots, with a letter or digit at both ends';

/** A reference to a version: `support` is the version that the name points to; `support@3f2a…` is always the same version. */
export interface NamedVersionRef {
  name: string;
  hash?: string | undefined;
}

/** @returns whether a string can be the name of a stored thing. */
export function isValidVersionedName(name: string): boolean {
  return NAME.test(name);
}

/** @returns the name and hash of a reference; undefined if the string cannot be one. */
export function parseVersionRef(ref: string): NamedVersionRef | undefined {
  const at = ref.indexOf('@');
  const name = at < 0 ? ref : ref.slice(0, at);
  if (!NAME.test(name)) return undefined;
  if (at < 0) return { name };
  const hash = ref.slice(at + 1);
  return HASH.test(hash) ? { name, hash } : undefined;
}
