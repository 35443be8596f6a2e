/**
 * Keeps the texts of parsed values. A parsed value has lost the digits of long numbers, keys that were repeated, and how strings
 * were escaped; whoever reads the text may see another value.
 */

import { memberTexts } from './edit.ts';
import { repeatsKeys } from './repeated-keys.ts';

const texts = new WeakMap<object, string>();
const LINE_ENDS = /[\n\r]/g;
const LONE_SURROGATES = /\p{Surrogate}/gu;

/**
 * Remembers the text of a value, as long as the value lives. It must not change any more.
 *
 * @param text valid JSON. Line ends between its tokens become spaces, so that it fits into one line of a stream
 */
export function keepText<T>(value: T, text: string): T {
  if (typeof value !== 'object' || value === null) return value;
  // UTF-8 has no half of a pair, but JSON can escape it.
  const escaping = (half: string) => `\\u${half.charCodeAt(0).toString(16)}`;
  texts.set(value, text.replace(LINE_ENDS, ' ').replace(LONE_SURROGATES, escaping));
  return value;
}

/** Parses JSON and remembers its text. @throws SyntaxError if it is not JSON */
export function parseKept(text: string): unknown {
  return keepText(JSON.parse(text), text);
}

/** Writes a value as `JSON.stringify` does, but each object or list whose text is known as that text. */
export function writeJson(value: unknown): string {
  const found: string[] = [];
  let mark = '';
  const json = JSON.stringify(value, (_, member: unknown) => {
    const text = typeof member === 'object' && member !== null ? texts.get(member) : undefined;
    if (text === undefined) return member;
    found.push(text);
    // No text has it, since nobody else ever sees it.
    mark ||= crypto.randomUUID();
    return mark;
  });
  return mark === '' ? json : json.replaceAll(`"${mark}"`, () => found.shift() ?? '');
}

/**
 * @returns whether two readers may read another number in a member of an input: a key is repeated somewhere, or the number is not
 *   exactly what its digits say
 */
export function isAmbiguous(input: object, field: string): boolean {
  const text = writeJson(input);
  if (repeatsKeys(text, input)) return true;
  const literal = memberTexts(text).get(field) ?? '';
  return decimalOf(literal) !== decimalOf(String(Number(literal)));
}

/** @returns a number without what its value does not need: its digits, and how many of them are behind the point */
function decimalOf(literal: string): string {
  const [, sign = '', whole = '', part = '', power = '0'] = /^(-?)(\d+)\.?(\d*)(?:e([+-]?\d+))?$/i.exec(literal) ?? [];
  const digits = (whole + part).replace(/^0+/, '');
  const kept = digits.replace(/0+$/, '');
  return kept === '' ? '0' : `${sign}${kept}e${Number(power) - part.length + digits.length - kept.length}`;
}
