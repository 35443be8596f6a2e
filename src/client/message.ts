import type { Message, RawMessageStreamEvent } from '@anthropic-ai/sdk/resources/messages';
import { parseJsonObject } from './errors.ts';

type JsonFields = Record<string, unknown>;

/** Builds a message from its events. Blocks and deltas of unknown kinds are kept as they arrive. */
export class MessageBuilder {
  #message: Message | undefined;
  readonly #partialInputs = new Map<number, string>();

  /** The part of the message that has been received. */
  get message(): Message | undefined {
    return this.#message;
  }

  applyEvent(event: RawMessageStreamEvent): void {
    if (event.type === 'message_start') {
      this.#message = { ...event.message, content: [...event.message.content] };
      return;
    }
    const message = this.#message;
    if (!message) return;
    switch (event.type) {
      case 'content_block_start':
        message.content[event.index] = { ...event.content_block };
        // If a block starts again after a lost connection, discard the input received so far.
        this.#partialInputs.delete(event.index);
        break;
      case 'content_block_delta':
        this.#applyDelta(event.index, message.content[event.index], event.delta);
        break;
      case 'content_block_stop': {
        const input = parseJsonObject<object>(this.#partialInputs.get(event.index) ?? '');
        if (input) Object.assign(message.content[event.index] ?? {}, { input });
        break;
      }
      case 'message_delta': {
        // Ignore null or missing counts of `message_delta`, so that they keep their value from `message_start`.
        const counts = Object.entries(event.usage ?? {}).filter(([, value]) => value !== null);
        Object.assign(message, event.delta, { usage: { ...message.usage, ...Object.fromEntries(counts) } });
      }
    }
  }

  #applyDelta(index: number, block: object | undefined, received: object): void {
    if (!block) return;
    const { type, ...delta } = received as JsonFields;
    const fields = block as JsonFields;
    for (const [name, added] of Object.entries(delta)) {
      const before = fields[name];
      if (type === 'input_json_delta') this.#partialInputs.set(index, (this.#partialInputs.get(index) ?? '') + added);
      else if (type === 'citations_delta') fields.citations = [...((fields.citations as unknown[]) ?? []), added];
      else if (type !== 'signature_delta' && typeof before === 'string') fields[name] = before + added;
      else fields[name] = added;
    }
  }
}

/** @returns the tokens of two answers together; of what is no number, that of the later one */
export function addUsage(before: Message['usage'], later: Message['usage']): Message['usage'] {
  const known = new Map<string, unknown>(Object.entries(before));
  const sums = Object.entries(later).map(([name, value]: [string, unknown]) => {
    const earlier = known.get(name);
    return [name, typeof value === 'number' && typeof earlier === 'number' ? earlier + value : (value ?? earlier)];
  });
  return { ...before, ...(Object.fromEntries(sums) as Message['usage']) };
}

/** @returns the text of a message, without its other blocks */
export function joinMessageText(message: Pick<Message, 'content'>): string {
  return message.content.map((block) => (block.type === 'text' ? block.text : '')).join('');
}

/** @returns a sum of dollars, exact in nanodollars */
export function addDollars(before: number | undefined, added: number): number {
  return (Math.round((before ?? 0) * 1e9) + Math.round(added * 1e9)) / 1e9;
}
