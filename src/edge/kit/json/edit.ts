import { BACKSLASH, CLOSE_LIST, CLOSE_OBJECT, OPEN_LIST, OPEN_OBJECT, QUOTE, SPACE } from './characters.ts';

/** A member of the outermost object: its key, and its position in the text, in characters. */
interface JsonMember {
  key: string;
  start: number;
  valueStart: number;
  end: number;
}

/** Up to this many characters, writing a value as JSON again takes less time than looking for its members. */
const SHORT_TEXT = 4_096;
const SCALAR_END = /[,}\]\s]/g;

/** The JSON text of a value that is set only if the object has no such member. */
interface DefaultJsonValue {
  readonly ifAbsent: string;
}

/** Changes by key: the JSON text of the new value, undefined to remove the member, or a default. */
export type JsonMemberChanges = Readonly<Record<string, string | undefined | DefaultJsonValue>>;

/**
 * Changes members of a JSON object in its text. All other text does not change.
 *
 * @param text a valid JSON object
 */
export function editJson(text: string, wanted: JsonMemberChanges): string {
  const all = parseMemberPositions(text);
  const changes = resolveDefaultChanges(wanted, all);
  // If a key is repeated, `JSON.parse` uses its last member. Change that one, and remove the earlier ones.
  const last = new Map(all.map((member, index) => [member.key, index]));
  const isUnchangedMember = (member: JsonMember, index: number) =>
    !Object.hasOwn(changes, member.key) || (changes[member.key] !== undefined && last.get(member.key) === index);
  const lastKept = all.findLastIndex(isUnchangedMember);
  const parts: string[] = [];
  let at = 0;
  for (const [index, member] of all.entries()) {
    if (index > lastKept) break;
    const value = changes[member.key];
    if (!isUnchangedMember(member, index)) {
      parts.push(text.slice(at, member.start));
      at = all[index + 1]?.start ?? member.end;
    } else if (value !== undefined && Object.hasOwn(changes, member.key)) {
      parts.push(text.slice(at, member.valueStart), value);
      at = member.end;
    }
  }
  const lastMember = all.at(-1);
  if (lastMember && lastKept < all.length - 1) {
    // The members after the last one that stays are all removed. Remove the comma before them, too.
    parts.push(text.slice(at, all[lastKept]?.end ?? all[0]?.start));
    at = lastMember.end;
  }
  parts.push(text.slice(at));
  let edited = parts.join('');
  let empty = lastKept < 0;
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined || last.has(key)) continue;
    edited = insertFirstMember(edited, key, value, !empty);
    empty = false;
  }
  return edited;
}

/** @returns the changes without defaults. A default becomes a new value, or nothing if the object has that member. */
function resolveDefaultChanges(
  changes: JsonMemberChanges,
  all: readonly JsonMember[],
): Record<string, string | undefined> {
  const own: Record<string, string | undefined> = Object.create(null);
  for (const [key, value] of Object.entries(changes)) {
    if (typeof value !== 'object') own[key] = value;
    else if (!all.some((member) => member.key === key)) own[key] = value.ifAbsent;
  }
  return own;
}

/**
 * Removes repeated keys of the outermost object, so that the upstream cannot read another value than was checked here.
 *
 * @param json what the text parses to
 * @returns the text with the last value of each key
 */
export function removeRepeatedKeys(text: string, json: Readonly<Record<string, unknown>>): string {
  // Most clients serialize JSON as this runtime does. If the text equals our own serialization, no key is repeated; this is the
  // fastest check.
  if (text.length <= SHORT_TEXT && JSON.stringify(json) === text) return text;
  const all = parseMemberPositions(text);
  if (all.length === Object.keys(json).length) return text;
  const seen = new Set<string>();
  const repeated: Record<string, string> = Object.create(null);
  for (const { key, valueStart, end } of all) {
    if (seen.has(key)) repeated[key] = text.slice(valueStart, end);
    seen.add(key);
  }
  return editJson(text, repeated);
}

/** @returns the JSON text of each value of an object, by key. If a key is repeated, the last value. */
export function parseMemberTexts(object: string): Map<string, string> {
  return new Map(parseMemberPositions(object).map(({ key, valueStart, end }) => [key, object.slice(valueStart, end)]));
}

/** @returns the position of a member's value in an object's text. If a key is repeated, of the last value. */
export function findMemberRange(object: string, key: string): { start: number; end: number } | undefined {
  const member = parseMemberPositions(object).findLast((member) => member.key === key);
  return member && { start: member.valueStart, end: member.end };
}

export function splitArrayItems(array: string): string[] {
  return [...iterateArrayItems(array)];
}

/** Finds the same one after the other: in a long array that takes time. */
export function* iterateArrayItems(array: string): Generator<string> {
  let at = skipWhitespace(array, array.indexOf('[') + 1);
  while (at < array.length && array[at] !== ']') {
    const end = skipJsonValue(array, at);
    yield array.slice(at, end);
    const next = skipWhitespace(array, end);
    at = array[next] === ',' ? skipWhitespace(array, next + 1) : array.length;
  }
}

function insertFirstMember(text: string, key: string, value: string, more: boolean): string {
  const brace = text.indexOf('{') + 1;
  return `${text.slice(0, brace)}${JSON.stringify(key)}:${value}${more ? ',' : ''}${text.slice(brace)}`;
}

function parseMemberPositions(text: string): JsonMember[] {
  const found: JsonMember[] = [];
  let at = skipWhitespace(text, text.indexOf('{') + 1);
  while (text[at] === '"') {
    const start = at;
    const keyEnd = findStringEnd(text, at);
    const key = JSON.parse(text.slice(at, keyEnd)) as string;
    const valueStart = skipWhitespace(text, text.indexOf(':', keyEnd) + 1);
    const end = skipJsonValue(text, valueStart);
    found.push({ key, start, valueStart, end });
    at = skipWhitespace(text, end);
    if (text[at] !== ',') break;
    at = skipWhitespace(text, at + 1);
  }
  return found;
}

function skipJsonValue(text: string, at: number): number {
  const first = text[at];
  if (first === '"') return findStringEnd(text, at);
  if (first !== '{' && first !== '[') return findScalarEnd(text, at);
  let depth = 0;
  let next = at;
  // Loop over the characters: a regular expression takes three times as long (measured).
  do {
    const code = text.charCodeAt(next);
    if (code === QUOTE) {
      next = findStringEnd(text, next);
      continue;
    }
    if (code === OPEN_OBJECT || code === OPEN_LIST) depth += 1;
    else if (code === CLOSE_OBJECT || code === CLOSE_LIST) depth -= 1;
    next += 1;
  } while (depth > 0 && next < text.length);
  return next;
}

/** @returns the position of the next character that is no white space of JSON */
export function skipWhitespace(text: string, from: number): number {
  let at = from;
  while (text.charCodeAt(at) <= SPACE) at += 1;
  return at;
}

/** @returns the position after the string whose opening quote is at `start`. @throws SyntaxError if it has no end */
export function findStringEnd(text: string, start: number): number {
  for (let quote = text.indexOf('"', start + 1); quote >= 0; quote = text.indexOf('"', quote + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(quote - 1 - backslashes) === BACKSLASH) backslashes += 1;
    if (backslashes % 2 === 0) return quote + 1;
  }
  throw new SyntaxError('a string of JSON without its end');
}

function findScalarEnd(text: string, from: number): number {
  SCALAR_END.lastIndex = from;
  // `lastIndex` gives the position without creating a match object.
  return SCALAR_END.test(text) ? SCALAR_END.lastIndex - 1 : text.length;
}
