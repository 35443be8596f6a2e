/** Keeps the texts of parsed values: those have lost digits of long numbers, keys that were repeated, and escapes. */

import { parseMemberTexts } from './edit.ts';
import { hasRepeatedKeys } from './repeated-keys.ts';

const textByValue = new WeakMap<object, string>();
const LINE_ENDS = /[\n\r]/g;
const LONE_SURROGATES = /\p{Surrogate}/gu;
/** More characters than any number that people write. */
const MAX_NUMBER_CHARACTERS = 99;

/**
 * Remembers the text of a value, as long as the value lives. It must not change any more.
 *
 * @param text valid JSON. Line ends between its tokens become spaces, so that it fits into one line of a stream
 */
export function rememberJsonText<T>(value: T, text: string): T {
  if (typeof value !== 'object' || value === null) return value;
  // UTF-8 cannot encode a lone surrogate, so write it as a JSON escape. Otherwise encoding would replace it.
  const escapeSurrogate = (half: string) => `\\u${half.charCodeAt(0).toString(16)}`;
  textByValue.set(value, text.replace(LINE_ENDS, ' ').replace(LONE_SURROGATES, escapeSurrogate));
  return value;
}

/** Parses JSON and remembers its text. @throws SyntaxError if it is not JSON */
export function parseJsonRememberingText(text: string): unknown {
  return rememberJsonText(JSON.parse(text), text);
}

/** Writes a value as `JSON.stringify` does, but each object or list whose text is known as that text. */
export function stringifyWithRememberedTexts(value: unknown): string {
  const found: string[] = [];
  let mark = '';
  const json = JSON.stringify(value, (_, member: unknown) => {
    const text = typeof member === 'object' && member !== null ? textByValue.get(member) : undefined;
    if (text === undefined) return member;
    found.push(text);
    // Use a random UUID as the placeholder, so that no string in the value can equal it.
    mark ||= crypto.randomUUID();
    return mark;
  });
  return mark === '' ? json : json.replaceAll(`"${mark}"`, () => found.shift() ?? '');
}

/** @returns whether readers may differ about a number in an input: a key is repeated somewhere, or it is not what its digits say */
export function isInputNumberAmbiguous(input: object, field: string): boolean {
  const text = stringifyWithRememberedTexts(input);
  if (hasRepeatedKeys(text, input)) return true;
  const literal = parseMemberTexts(text).get(field) ?? '';
  return (
    literal.length > MAX_NUMBER_CHARACTERS ||
    getSignificantDigits(literal) !== getSignificantDigits(String(Number(literal)))
  );
}

/** @returns the digits of a number that count. Where they are the same in a number and in its double, so is the power of ten */
function getSignificantDigits(number: string): string {
  return number.replace(/e.*|\D/gi, '').replace(/^0+|0+$/g, '');
}
