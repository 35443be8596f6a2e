/** Finds a secret in a text whatever way each of its characters is written there. */

/** JSON within JSON within JSON puts so many backslashes before what it escapes. */
const MOST_BACKSLASHES = 4;
const [BACKSLASH, PERCENT, LETTER_U] = [0x5c, 0x25, 0x75];

/** A secret, or the beginning of one, at some place of a text. */
export interface Spelled {
  /** Where it ends. */
  end: number;
  /** How many characters of the secret are there. */
  characters: number;
  /** Whether all of it is there. If not, the text ends in it. */
  isWhole: boolean;
}

/**
 * Compares a text, from one place on, with a secret. Each character of it may stand as it is, behind backslashes, as `\uXXXX`
 * or as `%XX`, with digits in either case.
 *
 * @returns undefined if something else stands there
 */
export function spellingAt(text: string, at: number, secret: string): Spelled | undefined {
  let end = at;
  for (let characters = 0; characters < secret.length; characters += 1) {
    const next = characterEnd(text, end, secret.charCodeAt(characters));
    if (next === undefined) return undefined;
    if (next > text.length) return { end: text.length, characters, isWhole: false };
    end = next;
  }
  return { end, characters: secret.length, isWhole: true };
}

/** @returns where a character ends; beyond the text's end if that cuts it; undefined if it is another character */
function characterEnd(text: string, start: number, code: number): number | undefined {
  let at = start;
  while (at - start < MOST_BACKSLASHES && text.charCodeAt(at) === BACKSLASH) at += 1;
  if (at === text.length) return code === BACKSLASH && at > start ? at : at + 1;
  const found = text.charCodeAt(at);
  const escaper = at === start ? PERCENT : LETTER_U;
  const end = found === escaper ? escapeEnd(text, at + 1, escaper === PERCENT ? 2 : 4, code) : undefined;
  // What escapes may be the character itself, where nothing follows it.
  if (end !== undefined && !(found === code && at + 1 === text.length)) return end;
  if (code === BACKSLASH) return at > start ? at : undefined;
  return found === code ? at + 1 : undefined;
}

function escapeEnd(text: string, at: number, digits: number, code: number): number | undefined {
  const written = text.slice(at, at + digits).toLowerCase();
  const expected = code.toString(16).padStart(digits, '0');
  if (written.length === digits) return written === expected ? at + digits : undefined;
  return at + written.length === text.length && expected.startsWith(written) ? text.length + 1 : undefined;
}
