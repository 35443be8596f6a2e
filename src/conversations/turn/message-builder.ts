import { BACKSLASH, QUOTE, SPACE } from '../../json/characters.ts';
import { asText, isObject, type Json } from '../../json/object.ts';
import { parseOrUndefined } from '../../json/parse.ts';
import type { Usage } from '../../pricing/cost.ts';
import type { Block } from '../history/replayable-blocks.ts';

/** The common form of deltas that differ in one string. */
interface DeltaForm {
  /** The text before the string. */
  head: string;
  block: Block;
  /** The block's field that the string is added to; undefined for the JSON of a tool's input. */
  name: string | undefined;
}

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
  readonly #byIndex = new Map<number, Block>();
  readonly #inputs = new Map<Block, string>();
  /** The form of the last delta. The next delta may have the same form. */
  #form: DeltaForm | undefined;

  /**
   * Takes the data of a delta that differs from the one before it only in its string, as almost all do. So only the string is
   * read.
   *
   * @param from where the data begins in the text; it ends at `to`
   * @returns the string as it is written; undefined for any other data, which is not taken
   */
  takeSimilarDelta(text: string, from = 0, to = text.length): string | undefined {
    const form = this.#form;
    if (!form || !text.startsWith(form.head, from)) return undefined;
    const start = from + form.head.length;
    const end = stringEnd(text, from, to);
    if (end < start) return undefined;
    const written = text.slice(start, end);
    return this.takeDeltaStrings([written]) === 1 ? written : undefined;
  }

  /**
   * Takes the strings of deltas that follow each other and have the form of the delta before them.
   *
   * @param strings as they are written
   * @returns how many of them are valid strings. The others are not taken
   */
  takeDeltaStrings(strings: readonly string[]): number {
    if (!this.#form) return 0;
    const all = strings.join('');
    if (isUnescaped(all)) {
      this.#append(this.#form, all);
      return strings.length;
    }
    for (const [index, written] of strings.entries()) {
      const value = isUnescaped(written) ? written : stringOf(written);
      if (value === undefined) return index;
      this.#append(this.#form, value);
    }
    return strings.length;
  }

  /** The text before the string of a delta that `takeSimilarDelta` takes. */
  get head(): string | undefined {
    return this.#form?.head;
  }

  /** Takes the data of the next event. @param text the same data as text, if the next event may have the same form */
  take(event: Json, text?: string): void {
    this.#form = undefined;
    switch (event.type) {
      case 'message_start':
        this.message = { ...(isObject(event.message) ? event.message : {}) };
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
    return isObject(this.message?.usage) ? this.message.usage : undefined;
  }

  #start({ index, content_block }: Json): void {
    if (typeof index !== 'number') return;
    const block: Block = { value: isObject(content_block) ? { ...content_block } : {}, open: true, broken: false };
    this.blocks.push(block);
    this.#byIndex.set(index, block);
    const { type, to } = block.value;
    // The model that steps in inside the API writes the rest of the answer.
    if (type === 'fallback' && this.message && isObject(to)) this.message.model = to.model;
  }

  /** @returns the block with an index of the upstream. */
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
        this.#append({ block, name: undefined }, asText(added));
      } else if (delta.type === 'citations_delta' && name === 'citation') {
        value.citations = [...(Array.isArray(value.citations) ? value.citations : []), added];
      } else if (typeof added === 'string' && typeof value[name] === 'string' && !isWholeValue(delta)) {
        value[name] += added;
      } else value[name] = added;
    }
  }

  /** @returns the form of a delta; undefined if it has more than one string. */
  #formOf({ index, delta }: Json, data: string): DeltaForm | undefined {
    const block = this.blockAt(index);
    if (!block || !isObject(delta)) return undefined;
    const [name, ...others] = Object.keys(delta).filter((key) => key !== 'type');
    if (name === undefined || others.length > 0 || isWholeValue(delta)) return undefined;
    const added = delta[name];
    if (typeof added !== 'string') return undefined;
    const isInput = delta.type === 'input_json_delta' && name === 'partial_json';
    if (!isInput && typeof block.value[name] !== 'string') return undefined;
    const [type, field] = [JSON.stringify(delta.type), JSON.stringify(name)];
    const head = `{"type":"content_block_delta","index":${index},"delta":{"type":${type},${field}:"`;
    const end = stringEnd(data, 0, data.length);
    const isUsual = data.startsWith(head) && end >= head.length && stringOf(data.slice(head.length, end)) === added;
    return isUsual ? { head, block, name: isInput ? undefined : name } : undefined;
  }

  #stop({ index }: Json): void {
    const block = this.blockAt(index);
    if (!block) return;
    block.open = false;
    const input = this.#inputs.get(block);
    if (input === undefined || input === '') return;
    try {
      block.value.input = JSON.parse(input);
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
    if (isObject(usage)) message.usage = { ...(isObject(message.usage) ? message.usage : {}), ...withoutNulls(usage) };
  }

  #append({ block, name }: Pick<DeltaForm, 'block' | 'name'>, string: string): void {
    if (name === undefined) this.#inputs.set(block, (this.#inputs.get(block) ?? '') + string);
    else block.value[name] += string;
  }
}

function withoutNulls(json: Json): Json {
  return Object.fromEntries(Object.entries(json).filter(([, value]) => (value ?? undefined) !== undefined));
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
