/**
 * Builds a message from its events, as the official SDKs do it: blocks as they came, deltas added to them.
 *
 * Nothing is refused, and unknown kinds of blocks and deltas are stored as they came.
 */

import { BACKSLASH, QUOTE, SPACE } from '../../json/characters.ts';
import { isObject, type Json } from '../../json/object.ts';
import { parseOrUndefined } from '../../json/parse.ts';
import type { Usage } from '../../pricing/cost.ts';
import type { Block } from '../history/replayable-blocks.ts';

/** The form of deltas with one string: the text before the string, and the field that it is added to. */
interface LikeDeltas {
  head: string;
  block: Block;
  /** The block's field; undefined for the JSON of a tool's input. */
  name: string | undefined;
}

/** Builds a message from its events. */
export class MessageBuilder {
  /** The message of `message_start`, with the changes of `message_delta`. */
  message: Json | undefined;
  readonly blocks: Block[] = [];
  /** Whether `message_stop` has come. */
  stopped = false;
  readonly #byIndex = new Map<number, Block>();
  readonly #inputs = new Map<Block, string>();
  #run: LikeDeltas | undefined;

  /**
   * Takes the data of a delta that differs from the one before it in its string alone, as almost all do: nothing but the
   * string is read.
   *
   * @param from where the data begins in the text
   * @param to where it ends
   * @returns what the string says, as it is written; undefined if it was none of these, and nothing has changed
   */
  takeLike(text: string, from = 0, to = text.length): string | undefined {
    const run = this.#run;
    if (!run || !text.startsWith(run.head, from)) return undefined;
    const start = from + run.head.length;
    const end = stringEnd(text, from, to);
    if (end < start) return undefined;
    const written = text.slice(start, end);
    const added = isUnescaped(text, start, end) ? written : stringOf(written);
    if (added === undefined) return undefined;
    addDelta(run, added, this.#inputs);
    return written;
  }

  /**
   * Takes what deltas say that come one after the other and are like the one before them.
   *
   * @param said their strings, as they are written
   * @returns how many of them are strings; of the others nothing has been taken
   */
  takeRun(said: readonly string[]): number {
    const run = this.#run;
    if (!run) return 0;
    const all = said.join('');
    if (isUnescaped(all, 0, all.length)) {
      addDelta(run, all, this.#inputs);
      return said.length;
    }
    for (const [index, written] of said.entries()) {
      const added = isUnescaped(written, 0, written.length) ? written : stringOf(written);
      if (added === undefined) return index;
      addDelta(run, added, this.#inputs);
    }
    return said.length;
  }

  /** What stands before the string of a delta that `takeLike` takes. */
  get head(): string | undefined {
    return this.#run?.head;
  }

  /**
   * Takes the data of the next event.
   *
   * @param data the same as text, if what comes next may be like it
   */
  take(event: Json, data?: string): void {
    this.#run = undefined;
    switch (event.type) {
      case 'message_start':
        this.message = { ...(isObject(event.message) ? event.message : {}) };
        break;
      case 'content_block_start':
        this.#start(event);
        break;
      case 'content_block_delta':
        this.#grow(event);
        if (data !== undefined) this.#run = this.#runOf(event, data);
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

  get stopReason(): string | null {
    return typeof this.message?.stop_reason === 'string' ? this.message.stop_reason : null;
  }

  get usage(): Usage | undefined {
    return isObject(this.message?.usage) ? this.message.usage : undefined;
  }

  /** @returns whether a content block has begun. */
  get hasContent(): boolean {
    return this.blocks.length > 0;
  }

  #start({ index, content_block }: Json): void {
    if (typeof index !== 'number') return;
    const block: Block = { value: isObject(content_block) ? { ...content_block } : {}, open: true, broken: false };
    this.blocks.push(block);
    this.#byIndex.set(index, block);
  }

  #grow({ index, delta }: Json): void {
    const block = typeof index === 'number' ? this.#byIndex.get(index) : undefined;
    if (!block || !isObject(delta)) return;
    const { value } = block;
    for (const [name, added] of Object.entries(delta)) {
      if (name === 'type') continue;
      if (delta.type === 'input_json_delta' && name === 'partial_json') {
        this.#inputs.set(block, (this.#inputs.get(block) ?? '') + String(added));
      } else if (delta.type === 'citations_delta' && name === 'citation') {
        value.citations = [...(Array.isArray(value.citations) ? value.citations : []), added];
      } else if (typeof added === 'string' && typeof value[name] === 'string' && delta.type !== 'signature_delta') {
        value[name] += added;
      } else value[name] = added;
    }
  }

  /** @returns the form of a delta; undefined where it has more than one string. */
  #runOf({ index, delta }: Json, data: string): LikeDeltas | undefined {
    const block = typeof index === 'number' ? this.#byIndex.get(index) : undefined;
    if (!block || !isObject(delta)) return undefined;
    const [name, ...others] = Object.keys(delta).filter((key) => key !== 'type');
    if (name === undefined || others.length > 0 || delta.type === 'signature_delta') return undefined;
    const added = delta[name];
    if (typeof added !== 'string') return undefined;
    const isInput = delta.type === 'input_json_delta' && name === 'partial_json';
    if (!isInput && typeof block.value[name] !== 'string') return undefined;
    const head = `{"type":"content_block_delta","index":${index},"delta":{"type":${JSON.stringify(delta.type)},${JSON.stringify(name)}:"`;
    const end = stringEnd(data, 0, data.length);
    if (!data.startsWith(head) || end < head.length || stringOf(data.slice(head.length, end)) !== added)
      return undefined;
    return { head, block, name: isInput ? undefined : name };
  }

  #stop({ index }: Json): void {
    const block = typeof index === 'number' ? this.#byIndex.get(index) : undefined;
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

  /** Merges a `message_delta`. Nulls are left out, because it lacks much that `message_start` has. */
  #change({ delta, usage }: Json): void {
    const message = this.message ?? {};
    this.message = message;
    if (isObject(delta)) Object.assign(message, delta);
    if (!isObject(usage)) return;
    const said = Object.entries(usage).filter(([, value]) => value !== null);
    message.usage = { ...(isObject(message.usage) ? message.usage : {}), ...Object.fromEntries(said) };
  }
}

function addDelta({ block, name }: LikeDeltas, said: string, inputs: Map<Block, string>): void {
  if (name === undefined) inputs.set(block, (inputs.get(block) ?? '') + said);
  else block.value[name] += said;
}

const CLOSING_BRACE = 125;

/** @returns where the last string of a delta ends, which two braces follow (the API pads them); -1 for another form. */
function stringEnd(text: string, from: number, to: number): number {
  let at = to - 1;
  if (text.charCodeAt(at) !== CLOSING_BRACE) return -1;
  at -= 1;
  while (at > from && text.charCodeAt(at) === SPACE) at -= 1;
  return text.charCodeAt(at) === CLOSING_BRACE && text.charCodeAt(at - 1) === QUOTE ? at - 1 : -1;
}

/** @returns whether what stands there in a JSON string is what it says. Deltas are short: no pattern is as quick. */
function isUnescaped(data: string, start: number, end: number): boolean {
  for (let at = start; at < end; at += 1) {
    const code = data.charCodeAt(at);
    if (code < SPACE || code === QUOTE || code === BACKSLASH) return false;
  }
  return true;
}

/** @returns what a JSON string says, given without its quotes; undefined if that is not one string. */
function stringOf(written: string): string | undefined {
  const value = parseOrUndefined(`"${written}"`);
  return typeof value === 'string' ? value : undefined;
}
