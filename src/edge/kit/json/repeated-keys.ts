/** Finds keys that an object repeats: some JSON readers take the first value, others the last. */

import { COLON, QUOTE } from './characters.ts';
import { findStringEnd, skipWhitespace } from './edit.ts';

/**
 * @param json what the text parses to
 * @param keys how many keys the text has, where they were counted
 * @returns whether some object repeats a key. Then the text has more keys than its parsed value
 */
export function hasRepeatedKeys(text: string, json: object, keys = countKeysInText(text)): boolean {
  return keys !== countObjectKeys(json);
}

function countKeysInText(text: string): number {
  let keys = 0;
  for (const _ of iterateKeyPositions(text)) keys += 1;
  return keys;
}

/**
 * @returns the values of all members with such a name, including repeated ones; undefined for a value that is not a string
 */
export function findValuesByKey(text: string, names: RegExp): (string | undefined)[] {
  const values: (string | undefined)[] = [];
  for (const { start, end, value } of iterateKeyPositions(text)) {
    if (!names.test(JSON.parse(text.slice(start, end)) as string)) continue;
    const isString = text.charCodeAt(value) === QUOTE;
    values.push(isString ? (JSON.parse(text.slice(value, findStringEnd(text, value))) as string) : undefined);
  }
  return values;
}

/** Yields the position of each key, including repeated ones, and where its value begins. */
function* iterateKeyPositions(text: string): Generator<{ start: number; end: number; value: number }> {
  for (let start = text.indexOf('"'); start >= 0; start = text.indexOf('"', start)) {
    const end = findStringEnd(text, start);
    const next = skipWhitespace(text, end);
    if (text.charCodeAt(next) === COLON) yield { start, end, value: skipWhitespace(text, next + 1) };
    start = end;
  }
}

/** @returns how many keys all objects in a value have. It does not recurse, because a body may nest very deep. */
function countObjectKeys(value: object): number {
  let keys = 0;
  const stack: object[] = [value];
  for (let node = stack.pop(); node; node = stack.pop()) {
    // Iterate over an array directly: `Object.values` would copy it, and it may have millions of items.
    const members: unknown[] = Array.isArray(node) ? node : Object.values(node);
    if (members !== node) keys += members.length;
    for (const member of members) if (typeof member === 'object' && member !== null) stack.push(member);
  }
  return keys;
}
