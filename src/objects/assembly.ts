/**
 * Builds a message from its events, as the official SDKs do it: blocks as they came, deltas added to them.
 *
 * Nothing is refused and no kind of block or delta needs to be known: what is not understood is kept.
 */
import type { Usage } from '../claude/cost.ts';

export type Json = Record<string, unknown>;

/** A content block while it is being said. */
export interface Block {
  value: Json;
  /** Whether `content_block_stop` is still to come. */
  open: boolean;
  /** Whether the JSON of its input does not parse: it was cut by a limit. */
  broken: boolean;
}

/** A message as far as it has come. */
export class Assembly {
  /** What `message_start` said, with what `message_delta` changed. */
  message: Json | undefined;
  readonly blocks: Block[] = [];
  /** Whether `message_stop` has come. */
  stopped = false;
  readonly #byIndex = new Map<number, Block>();
  readonly #inputs = new Map<Block, string>();

  /** Takes the data of the next event. */
  take(event: Json): void {
    switch (event.type) {
      case 'message_start':
        this.message = { ...(isObject(event.message) ? event.message : {}) };
        break;
      case 'content_block_start':
        this.#start(event);
        break;
      case 'content_block_delta':
        this.#grow(event);
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

  /** @returns whether anything has begun to be said. */
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

  /** Later values win where they say something: `message_delta` lacks much that `message_start` has told. */
  #change({ delta, usage }: Json): void {
    const message = this.message ?? {};
    this.message = message;
    if (isObject(delta)) Object.assign(message, delta);
    if (!isObject(usage)) return;
    const said = Object.entries(usage).filter(([, value]) => value !== null);
    message.usage = { ...(isObject(message.usage) ? message.usage : {}), ...Object.fromEntries(said) };
  }
}

/** @returns whether a value is a JSON object. */
export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
