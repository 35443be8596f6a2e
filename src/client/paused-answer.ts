import type { Message, RawMessageStreamEvent } from '@anthropic-ai/sdk/resources/messages';
import { MessageBuilder, summedUsage } from './message.ts';
import type { ReceivedAnswer } from './stored-answer.ts';

/** How often an answer that the API has paused is sent back. One that pauses again and again must not cost without an end. */
const MOST_RETURNS = 10;

/**
 * Shows the parts of an answer as one message. The API pauses an answer whose own tools take long, and goes on with it when it
 * gets it back.
 */
export class PausedAnswer {
  /** The part that comes now. */
  #part = new MessageBuilder();
  /** The usage of the parts before it. */
  #earlier: Message['usage'] | undefined;
  /** How many blocks the parts before it have. */
  #blocks = 0;
  #returns = 0;
  /** The end of a part that may go on. It is told only if nothing follows it. */
  #held: RawMessageStreamEvent[] = [];
  /** The index of the block that has begun and not ended, in the part that comes now. */
  #openBlock: number | undefined;

  /** The part that comes now, as far as it has come. */
  get part(): ReceivedAnswer {
    return { message: this.#part.message, openBlock: this.#openBlock };
  }

  /** Takes an event of the part that comes now. @returns the events of the whole answer that are told for it */
  take(event: RawMessageStreamEvent): RawMessageStreamEvent[] {
    this.#part.take(event);
    if (event.type === 'content_block_start') this.#openBlock = event.index;
    if (event.type === 'content_block_stop') this.#openBlock = undefined;
    if (event.type === 'message_start') return this.#earlier ? [] : [event];
    if (event.type !== 'message_stop') this.#held = [];
    if ('index' in event) return [{ ...event, index: event.index + this.#blocks }];
    const shown = event.type === 'message_delta' ? this.#summed(event) : event;
    const isPause = this.#part.message?.stop_reason === 'pause_turn' && this.#returns < MOST_RETURNS;
    if (!isPause) return [shown];
    this.#held.push(shown);
    return [];
  }

  /** @returns the content that is sent back; undefined where the part was not paused, or has gone on too often */
  get content(): Message['content'] | undefined {
    return this.#held.length > 0 ? this.#part.message?.content : undefined;
  }

  /** Whether nothing of the part that comes now has come yet. */
  get isEmpty(): boolean {
    return !this.#part.message?.content.length;
  }

  /** Begins the next part, which is asked for now. */
  goOn(): void {
    const { message } = this.#part;
    if (!message) return;
    this.#earlier = this.#earlier ? summedUsage(this.#earlier, message.usage) : message.usage;
    this.#blocks += message.content.length;
    this.#part = new MessageBuilder();
    this.#openBlock = undefined;
    this.#returns += 1;
  }

  /** @returns the end that was held back, if nothing has followed it */
  end(): RawMessageStreamEvent[] {
    return this.#held.splice(0);
  }

  #summed(event: RawMessageStreamEvent & { type: 'message_delta' }): RawMessageStreamEvent {
    const usage = this.#part.message?.usage;
    if (!this.#earlier || !usage) return event;
    return { ...event, usage: { ...event.usage, ...summedUsage(this.#earlier, usage) } };
  }
}
