import type { Message, RawMessageStreamEvent } from '@anthropic-ai/sdk/resources/messages';
import { joinMessageText } from './message.ts';

/** Reads an answer in the ways of the official SDK's streams: event by event, as text, or complete at its end. */
export abstract class SdkStyleStreamReader implements AsyncIterable<RawMessageStreamEvent> {
  protected readonly feed = new ReplayableFeed<RawMessageStreamEvent>();
  /** @internal makes `structuredClone` fail, whose copy would have no methods. Most engines show this text in the error. */
  protected readonly uncloneable = () => 'A stream cannot be cloned or sent to a worker. Use its message.';

  /** Keeps Vue from wrapping it in a proxy, which has no access to private fields. */
  abstract get [Symbol.toStringTag](): string;

  /** Stops listening. */
  abstract close(): void;

  /** Closes it when the signal is aborted. @returns a function that ends this */
  protected closeOnAbort(signal: AbortSignal | undefined): () => void {
    const close = () => this.close();
    if (signal?.aborted) close();
    signal?.addEventListener('abort', close);
    return () => signal?.removeEventListener('abort', close);
  }

  /** @returns the final message, once all events have been read */
  protected abstract lastMessage(): Message;

  /** Yields the events. Leaving the loop before the end calls `close()`. */
  async *[Symbol.asyncIterator](): AsyncGenerator<RawMessageStreamEvent, void, void> {
    try {
      yield* this.feed.readItems();
    } finally {
      if (!this.feed.isEnded) this.close();
    }
  }

  /** Yields the pieces of text as they arrive. @example for await (const text of stream.textDeltas()) show(text); */
  async *textDeltas(): AsyncGenerator<string, void, void> {
    for await (const event of this) {
      if (event.type === 'content_block_delta' && event.delta.type === 'text_delta') yield event.delta.text;
    }
  }

  /** @returns the text of `finalMessage()` @example show(await stream.text()); */
  async text(): Promise<string> {
    return joinMessageText(await this.finalMessage());
  }

  /**
   * Waits for the end.
   *
   * @returns the complete answer; for a run, its last answer
   * @throws SluiceError why the answer is incomplete; `closed` if it was closed before its end
   * @example
   * const { content, stop_reason } = await stream.finalMessage();
   * show(content, stop_reason);
   */
  async finalMessage(): Promise<Message> {
    for await (const _ of this.feed.readItems());
    return this.lastMessage();
  }
}

/** Keeps items as they arrive. Any number of readers can read them, each from the first item on. */
class ReplayableFeed<T> {
  readonly #items: T[] = [];
  #end: { error: unknown } | undefined;
  #wakeReaders = () => {};
  #nextChange = Promise.resolve();

  constructor() {
    this.#notifyReaders();
  }

  get isEnded(): boolean {
    return this.#end !== undefined;
  }

  pushItem(item: T): void {
    this.#items.push(item);
    this.#notifyReaders();
  }

  /** Ends the feed. @param error thrown to its readers, after the last item */
  endFeed(error?: unknown): void {
    this.#end ??= { error };
    this.#notifyReaders();
  }

  /** Yields all items, and waits for later ones. @throws the error with which the feed has ended, after the last item */
  async *readItems(): AsyncGenerator<T, void, void> {
    for (let at = 0; ; at += 1) {
      while (at >= this.#items.length) {
        if (this.#end?.error !== undefined) throw this.#end.error;
        if (this.#end) return;
        await this.#nextChange;
      }
      yield this.#items[at] as T;
    }
  }

  #notifyReaders(): void {
    this.#wakeReaders();
    this.#nextChange = new Promise((resolve) => {
      this.#wakeReaders = resolve;
    });
  }
}
