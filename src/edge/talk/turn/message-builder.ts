import type { Usage } from '../../claude/pricing/cost.ts';
import { ToldUsage } from '../../claude/usage/told-usage.ts';
import { BACKSLASH, QUOTE, SPACE } from '../../kit/json/characters.ts';
import { parseKept } from '../../kit/json/kept-text.ts';
import { asText, isObject, type Json } from '../../kit/json/object.ts';
import { parseOrUndefined } from '../../kit/json/parse.ts';
import { DELTA_END, DELTA_LINES, type SimilarDeltas } from '../../kit/sse/frames.ts';
import type { Block } from '../history/replayable-blocks.ts';

/**
 * Builds a message from its events, as the official SDKs do: blocks as they came, with deltas added to them. It refuses
 * nothing, and keeps unknown kinds of blocks and deltas as they came.
 */
export class MessageBuilder {
  /** The message of `message_start`, with the changes of `message_delta`. */
  message: Json | undefined;
  readonly blocks: Block[] = [];
  /** Whether `message_stop` has come. */
  stopped = false;
  readonly told = new ToldUsage();
  readonly #byIndex = new Map<number, Block>();
  readonly #inputs = new Map<Block, string>();
  #form: DeltaForm | undefined;

  /** The form of the delta that was taken last: the next may have it, too. Undefined after any other event. */
  get form(): DeltaForm | undefined {
    return this.#form;
  }

  /** Takes the data of the next event. @param text the same data as text, if the next event may have the same form */
  take(event: Json, text?: string): void {
    this.#form = undefined;
    switch (event.type) {
      case 'message_start':
        this.message = { ...(isObject(event.message) ? event.message : {}) };
        // Without a usage it has begun all the same.
        this.told.take(this.message.usage ?? {});
        break;
      case 'content_block_start':
        this.#start(event);
        break;
      case 'content_block_delta':
        this.#grow(event);
        if (text !== undefined) this.#form = this.#formOf(event, text);
        break;
      case 'content_block_stop':
        this.#stop(event);
        break;
      case 'message_delta':
        this.#change(event);
        break;
      case 'message_stop':
        this.stopped = true;
        break;
    }
  }

  /** @returns the indices of the blocks that are still open, in their order. */
  get openIndices(): number[] {
    return [...this.#byIndex].filter(([, block]) => block.open).map(([index]) => index);
  }

  /** @returns the JSON of a tool's input, as far as it has come. */
  inputOf(block: Block): string | undefined {
    return this.#inputs.get(block);
  }

  get stopReason(): string | null {
    return typeof this.message?.stop_reason === 'string' ? this.message.stop_reason : null;
  }

  get usage(): Usage | undefined {
    return this.told.usage;
  }

  /** Whether the output was told, and can be that of what has come. */
  get tellsOutput(): boolean {
    const texts = this.blocks.map(({ value }) => (value.type === 'text' ? asText(value.text) : ''));
    return this.told.tellsOutputOf([...texts, ...this.#inputs.values()].reduce((sum, { length }) => sum + length, 0));
  }

  #start({ index, content_block }: Json): void {
    if (typeof index !== 'number') return;
    const block: Block = { value: isObject(content_block) ? { ...content_block } : {}, open: true, broken: false };
    this.blocks.push(block);
    this.#byIndex.set(index, block);
    const { type, to } = block.value;
    if (type === 'fallback') this.told.handOver();
    else this.told.hasBlocks = true;
    // The model that steps in inside the API writes the rest of the answer.
    if (type === 'fallback' && this.message && isObject(to)) this.message.model = to.model;
  }

  blockAt(index: unknown): Block | undefined {
    return typeof index === 'number' ? this.#byIndex.get(index) : undefined;
  }

  #grow({ index, delta }: Json): void {
    const block = this.blockAt(index);
    if (!block || !isObject(delta)) return;
    const { value } = block;
    for (const [name, added] of Object.entries(delta)) {
      // A progress display, which is no member of the block.
      if (name === 'type' || (delta.type === 'thinking_delta' && name === 'estimated_tokens')) continue;
      if (delta.type === 'input_json_delta' && name === 'partial_json') {
        this.#append(block, undefined, asText(added));
      } else if (delta.type === 'citations_delta' && name === 'citation') {
        value.citations = [...(Array.isArray(value.citations) ? value.citations : []), added];
      } else if (typeof added === 'string' && typeof value[name] === 'string' && !isWholeValue(delta)) {
        value[name] += added;
      } else value[name] = added;
    }
  }

  /** @returns the form of a delta; undefined if it has more than one string. */
  #formOf(event: Json, data: string): DeltaForm | undefined {
    const block = this.blockAt(event.index);
    return block && deltaFormOf(event, data, block, (name, string) => this.#append(block, name, string));
  }

  #stop({ index }: Json): void {
    const block = this.blockAt(index);
    if (!block) return;
    block.open = false;
    const input = this.#inputs.get(block);
    if (input === undefined || input === '') return;
    try {
      block.value.input = parseKept(input);
    } catch {
      block.broken = true;
    }
  }

  /** Merges a `message_delta` into the message. Skips nulls, because it lacks much of what `message_start` has. */
  #change({ type: _, delta, usage, ...others }: Json): void {
    const message = this.message ?? {};
    this.message = message;
    const { container, ...ended } = isObject(delta) ? delta : {};
    Object.assign(message, ended, withoutNulls({ container, ...others }));
    if (isObject(usage))
      message.usage = { ...(isObject(message.usage) ? message.usage : {}), ...this.told.take(usage, true) };
  }

  /** @param name the block's member that the string is added to; undefined for the JSON of a tool's input */
  #append(block: Block, name: string | undefined, string: string): void {
    if (name === undefined) this.#inputs.set(block, (this.#inputs.get(block) ?? '') + string);
    else block.value[name] += string;
  }
}

function withoutNulls(json: Json): Json {
  return Object.fromEntries(Object.entries(json).filter(([, value]) => (value ?? undefined) !== undefined));
}

/** The common form of deltas that differ in one string only, as almost all do. It takes them without reading their JSON. */
class DeltaForm {
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
function deltaFormOf(
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
function isWholeValue({ type }: Json): boolean {
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
