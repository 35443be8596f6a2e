import { KeyFault } from './kind.ts';

/**
 * Reads the secret of an entry as a key for a header. A key with other characters would fail in each request, with an error
 * of the runtime that might quote the key.
 *
 * @throws KeyFault for a secret with spaces, line breaks or letters of other alphabets
 */
export function readApiKey(secret: string, must = 'must be an API key'): string {
  if (!/^[\x21-\x7e]+$/.test(secret)) throw new KeyFault(`${must}, without spaces and line breaks`);
  return secret;
}
