import type { Message, RawMessageStreamEvent } from '@anthropic-ai/sdk/resources/messages';
import { addUsage, MessageBuilder } from './message.ts';
import type { ReceivedAnswer } from './stored-answer.ts';

/** How often an answer that the API has paused is sent back. One that pauses again and again must not cost without an end. */
const MAX_CONTINUATIONS = 10;

/**
 * Merges the parts of an answer into one message. The API pauses an answer whose own tools take long, and continues it when the
 * client sends it back.
 */
export class PausedAnswerMerger {
  /** The current part. */
  #part = new MessageBuilder();
  /** The usage of the parts before it. */
  #earlierUsage: Message['usage'] | undefined;
  /** How many blocks the parts before it have. */
  #earlierBlocks = 0;
  #continuations = 0;
  /** The events that end a part which may be continued. They are emitted only if no part follows. */
  #heldEvents: RawMessageStreamEvent[] = [];
  /** The index of the block that has begun and not ended, in the current part. */
  #openBlock: number | undefined;

  /** The received content of the current part. */
  get currentPart(): ReceivedAnswer {
    return { message: this.#part.message, openBlock: this.#openBlock };
  }

  /** Takes an event of the current part. @returns the events of the merged message to emit for it */
  applyEvent(event: RawMessageStreamEvent): RawMessageStreamEvent[] {
    this.#part.applyEvent(event);
    if (event.type === 'content_block_start') this.#openBlock = event.index;
    if (event.type === 'content_block_stop') this.#openBlock = undefined;
    if (event.type === 'message_start') return this.#earlierUsage ? [] : [event];
    if (event.type !== 'message_stop') this.#heldEvents = [];
    if ('index' in event) return [{ ...event, index: event.index + this.#earlierBlocks }];
    const shown = event.type === 'message_delta' ? this.#addEarlierUsage(event) : event;
    const isPause = this.#part.message?.stop_reason === 'pause_turn' && this.#continuations < MAX_CONTINUATIONS;
    if (!isPause) return [shown];
    this.#heldEvents.push(shown);
    return [];
  }

  /** @returns the content that is sent back; undefined where the part was not paused, or has gone on too often */
  get contentToContinue(): Message['content'] | undefined {
    return this.#heldEvents.length > 0 ? this.#part.message?.content : undefined;
  }

  /** Whether nothing of the current part has been received yet. */
  get isEmpty(): boolean {
    return !this.#part.message?.content.length;
  }

  /** Begins the next part, which is requested now. */
  beginNextPart(): void {
    const { message } = this.#part;
    if (!message) return;
    this.#earlierUsage = this.#earlierUsage ? addUsage(this.#earlierUsage, message.usage) : message.usage;
    this.#earlierBlocks += message.content.length;
    this.#part = new MessageBuilder();
    this.#openBlock = undefined;
    this.#continuations += 1;
  }

  /** @returns the end that was held back, if nothing has followed it */
  releaseHeldEvents(): RawMessageStreamEvent[] {
    return this.#heldEvents.splice(0);
  }

  #addEarlierUsage(event: RawMessageStreamEvent & { type: 'message_delta' }): RawMessageStreamEvent {
    const usage = this.#part.message?.usage;
    if (!this.#earlierUsage || !usage) return event;
    return { ...event, usage: { ...event.usage, ...addUsage(this.#earlierUsage, usage) } };
  }
}
