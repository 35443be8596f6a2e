import { findLoneSurrogatePath } from '../json/lone-surrogates.ts';
import { createInvalidRequestError } from './errors.ts';

/**
 * Checks the strings of what is about to be stored: the Claude API would reject every request with it.
 *
 * @param path where the value is in the request; empty for all of it
 * @throws ApiError 400 that names the first string or object with a lone surrogate
 */
export function requireWellFormedStrings(value: unknown, path = ''): void {
  const found = findLoneSurrogatePath(value);
  if (found === undefined) return;
  const at = [path, found].filter((part) => part !== '').join('.');
  throw createInvalidRequestError(
    `${at || 'body'}: contains half of a character (a lone surrogate), which the Claude API rejects. Remove it, for example with \`toWellFormed()\`.`,
  );
}
