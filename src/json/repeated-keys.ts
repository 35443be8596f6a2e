/** Finds keys that an object repeats: some JSON readers take the first value, others the last. */

import { COLON, QUOTE } from './characters.ts';
import { endOfString } from './edit.ts';

/** Space, tab, line feed, carriage return. */
const SPACES: ReadonlySet<number> = new Set([32, 9, 10, 13]);

/**
 * @param json what the text parses to
 * @returns whether some object repeats a key: the text has then more keys than what it parses to
 */
export function repeatsKeys(text: string, json: object): boolean {
  let keys = 0;
  for (const _ of keysOf(text)) keys += 1;
  return keys !== keysIn(json);
}

/** @returns the values of all members with such a name, also of repeated ones; undefined in the place of a value that is no string */
export function valuesNamed(text: string, names: RegExp): (string | undefined)[] {
  const values: (string | undefined)[] = [];
  for (const { start, end, value } of keysOf(text)) {
    if (!names.test(JSON.parse(text.slice(start, end)) as string)) continue;
    const isString = text.charCodeAt(value) === QUOTE;
    values.push(isString ? (JSON.parse(text.slice(value, endOfString(text, value))) as string) : undefined);
  }
  return values;
}

/** Yields where each key stands, also a repeated one, and where its value begins. */
function* keysOf(text: string): Generator<{ start: number; end: number; value: number }> {
  for (let start = text.indexOf('"'); start >= 0; start = text.indexOf('"', start)) {
    const end = endOfString(text, start);
    const next = skipSpace(text, end);
    if (text.charCodeAt(next) === COLON) yield { start, end, value: skipSpace(text, next + 1) };
    start = end;
  }
}

function skipSpace(text: string, from: number): number {
  let at = from;
  while (SPACES.has(text.charCodeAt(at))) at += 1;
  return at;
}

/** @returns how many keys all objects in a value have. It does not call itself: a body may nest too deep for that. */
function keysIn(value: object): number {
  let keys = 0;
  const stack: object[] = [value];
  for (let node = stack.pop(); node; node = stack.pop()) {
    // No `Object.values` of a list: it may have millions of items.
    const members: unknown[] = Array.isArray(node) ? node : Object.values(node);
    if (members !== node) keys += members.length;
    for (const member of members) if (typeof member === 'object' && member !== null) stack.push(member);
  }
  return keys;
}
