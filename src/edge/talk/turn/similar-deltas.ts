/** Takes deltas that differ from the one before them in one string only, as almost all do, without reading their JSON. */

import { BACKSLASH, QUOTE, SPACE } from '../../kit/json/characters.ts';
import { isObject, type Json } from '../../kit/json/object.ts';
import { parseOrUndefined } from '../../kit/json/parse.ts';
import { DELTA_END, DELTA_LINES, type SimilarDeltas } from '../../kit/sse/frames.ts';
import type { Block } from '../history/replayable-blocks.ts';

/** The common form of deltas that differ in one string. */
export class DeltaForm {
  readonly #head: string;
  readonly #append: (string: string) => void;

  /** @param append adds the value of a string to the block of the delta */
  constructor(head: string, append: (string: string) => void) {
    this.#head = head;
    this.#append = append;
  }

  /**
   * Takes the deltas of this form that a text has from `start` on.
   *
   * @param end where the first event ends, before its empty line
   * @returns undefined if the first event has another form
   */
  take(text: string, start: number, end: number): SimilarDeltas | undefined {
    if (!text.startsWith(DELTA_LINES, start)) return undefined;
    const head = this.#head;
    const from = start + DELTA_LINES.length;
    const between = DELTA_END + DELTA_LINES + head;
    // If several follow each other, all but the last are found in one pass.
    if (text.startsWith(between, end + 2 - DELTA_END.length) && text.startsWith(head, from)) {
      const rest = text.slice(from + head.length).split(between);
      const strings = rest.slice(0, this.#takeStrings(rest.slice(0, -1)));
      const length = strings.reduce((sum, string) => sum + between.length + string.length, 0);
      if (length > 0) return { text: text.slice(start, start + length), head, strings };
    }
    const string = this.takeData(text, from, end);
    return string === undefined ? undefined : { text: text.slice(start, end + 2), head, strings: [string] };
  }

  /**
   * Takes the data of one delta.
   *
   * @param from where the data begins in the text; it ends at `to`
   * @returns the string as it is written; undefined for any other data, which is not taken
   */
  takeData(text: string, from = 0, to = text.length): string | undefined {
    if (!text.startsWith(this.#head, from)) return undefined;
    const start = from + this.#head.length;
    const end = stringEnd(text, from, to);
    if (end < start) return undefined;
    const written = text.slice(start, end);
    return this.#takeStrings([written]) === 1 ? written : undefined;
  }

  /** @returns how many of these are valid strings. The others are not taken */
  #takeStrings(strings: readonly string[]): number {
    const all = strings.join('');
    if (isUnescaped(all)) {
      this.#append(all);
      return strings.length;
    }
    for (const [index, written] of strings.entries()) {
      const value = isUnescaped(written) ? written : stringOf(written);
      if (value === undefined) return index;
      this.#append(value);
    }
    return strings.length;
  }
}

/**
 * @param data the data of a delta, of a block
 * @param append adds a string to a member of the block, or to the JSON of its tool's input
 * @returns its form; undefined if it has more than one string
 */
export function deltaFormOf(
  { index, delta }: Json,
  data: string,
  { value }: Block,
  append: (name: string | undefined, string: string) => void,
): DeltaForm | undefined {
  if (!isObject(delta)) return undefined;
  const [name, ...others] = Object.keys(delta).filter((key) => key !== 'type');
  if (name === undefined || others.length > 0 || isWholeValue(delta)) return undefined;
  const added = delta[name];
  if (typeof added !== 'string') return undefined;
  const isInput = delta.type === 'input_json_delta' && name === 'partial_json';
  if (!isInput && typeof value[name] !== 'string') return undefined;
  const [type, field] = [JSON.stringify(delta.type), JSON.stringify(name)];
  const head = `{"type":"content_block_delta","index":${index},"delta":{"type":${type},${field}:"`;
  const end = stringEnd(data, 0, data.length);
  const isUsual = data.startsWith(head) && end >= head.length && stringOf(data.slice(head.length, end)) === added;
  return isUsual ? new DeltaForm(head, (string) => append(isInput ? undefined : name, string)) : undefined;
}

/** @returns whether a delta has the final value of its members, and not a piece. */
export function isWholeValue({ type }: Json): boolean {
  return type === 'signature_delta' || type === 'compaction_delta';
}

const CLOSING_BRACE = 125;

/** @returns where the last string of a delta ends, which is before two braces (perhaps padded); -1 for another form. */
function stringEnd(text: string, from: number, to: number): number {
  let at = to - 1;
  if (text.charCodeAt(at) !== CLOSING_BRACE) return -1;
  at -= 1;
  while (at > from && text.charCodeAt(at) === SPACE) at -= 1;
  return text.charCodeAt(at) === CLOSING_BRACE && text.charCodeAt(at - 1) === QUOTE ? at - 1 : -1;
}

/**
 * @returns whether a JSON string, given without its quotes, has no escapes. This loop is faster than a pattern for short
 * deltas.
 */
function isUnescaped(written: string): boolean {
  for (let at = 0; at < written.length; at += 1) {
    const code = written.charCodeAt(at);
    if (code < SPACE || code === QUOTE || code === BACKSLASH) return false;
  }
  return true;
}

/** @returns the value of a JSON string, given without its quotes; undefined if that is not one string. */
function stringOf(written: string): string | undefined {
  const value = parseOrUndefined(`"${written}"`);
  return typeof value === 'string' ? value : undefined;
}
