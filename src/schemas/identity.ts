/** What a credential may do. `admin` includes the others. */
export const SCOPES = ['messages', 'classify', 'prefixes', 'admin'] as const;

export type Scope = (typeof SCOPES)[number];

/** The length of an account's name, which is a token's `sub`. */
export const MAX_ACCOUNT_CHARACTERS = 128;

/** @returns whether a string can name an account. */
export function isAccount(name: unknown): name is string {
  if (typeof name !== 'string' || name.length < 1 || name.length > MAX_ACCOUNT_CHARACTERS) return false;
  // A lone surrogate becomes the replacement character in an object's name: two accounts would be one.
  // As steps of a path, dots are walked by every client, however they are written: no route would reach the account.
  return name.isWellFormed() && name !== '.' && name !== '..';
}

/** Whose is what admins store for everybody: the name of an account's object that no token can name. */
export const DEPLOYMENT = '.';
