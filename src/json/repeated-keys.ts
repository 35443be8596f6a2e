import { BACKSLASH, QUOTE } from './characters.ts';

/**
 * Keys that an object in a body repeats, which one reader takes for the first value and another for the last. The
 * outermost object's are taken out (edit.ts); those further inside go up as they came, or the caller's bytes would change.
 */
const COLON = 58;
/** Space, tab, line feed, carriage return. */
const SPACES: ReadonlySet<number> = new Set([32, 9, 10, 13]);

/**
 * @param json what the text parses to
 * @returns whether some object repeats a key: what a parser drops is missing among the keys of what it has made
 */
export function repeatsKeys(text: string, json: object): boolean {
  let keys = 0;
  for (const _ of keysOf(text)) keys += 1;
  return keys !== keysIn(json);
}

/** @returns the values of all members of which the name is one of these, however a reader takes the text; undefined for no string */
export function valuesNamed(text: string, names: RegExp): (string | undefined)[] {
  const values: (string | undefined)[] = [];
  for (const { start, end, value } of keysOf(text)) {
    if (!names.test(JSON.parse(text.slice(start, end)) as string)) continue;
    const isString = text.charCodeAt(value) === QUOTE;
    values.push(isString ? (JSON.parse(text.slice(value, endOfString(text, value))) as string) : undefined);
  }
  return values;
}

/** Where each key stands, repeated ones each time, and where its value begins. */
function* keysOf(text: string): Generator<{ start: number; end: number; value: number }> {
  for (let start = text.indexOf('"'); start >= 0; start = text.indexOf('"', start)) {
    const end = endOfString(text, start);
    const next = skipSpace(text, end);
    if (text.charCodeAt(next) === COLON) yield { start, end, value: skipSpace(text, next + 1) };
    start = end;
  }
}

function endOfString(text: string, start: number): number {
  for (let quote = text.indexOf('"', start + 1); ; quote = text.indexOf('"', quote + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(quote - 1 - backslashes) === BACKSLASH) backslashes += 1;
    if (backslashes % 2 === 0) return quote + 1;
  }
}

function skipSpace(text: string, from: number): number {
  let at = from;
  while (SPACES.has(text.charCodeAt(at))) at += 1;
  return at;
}

/** @returns how many keys all objects of a value have. With a stack of its own: a body may nest as deep as it is long. */
function keysIn(value: object): number {
  let keys = 0;
  const stack: object[] = [value];
  for (let node = stack.pop(); node; node = stack.pop()) {
    // A list may have millions of items, and the name of each would be a text.
    const members: unknown[] = Array.isArray(node) ? node : Object.values(node);
    if (members !== node) keys += members.length;
    for (const member of members) if (typeof member === 'object' && member !== null) stack.push(member);
  }
  return keys;
}
