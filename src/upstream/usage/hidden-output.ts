/** @returns whether a block is thinking: all of it is billed, but only a part, or nothing, is shown. */
export function isThinkingType(blockType: unknown): boolean {
  return typeof blockType === 'string' && blockType.endsWith('thinking');
}

/** Stands for the block type of a use of an advisor, which writes until its result is there. */
export const ADVISOR = 'advisor';

/**
 * Measures for how long a model may have written output that nobody saw: before its first block, while it thinks, in a
 * silence of a tool call (its input may come in large pieces), and between two blocks. Output that was seen is measured by
 * its text and not by time.
 *
 * Times are milliseconds since 1970, and none is earlier than the one before. What was not seen at once may have come at
 * any time from `since` to `at`: it is the earlier one that a time without output begins with, and the later one that ends it.
 */
export class HiddenOutputClock {
  /** The sum of the times that are over, in milliseconds. */
  #ms = 0;
  /** When the last block ended, at the earliest; before the first block, when the request was sent. */
  #boundary: number;
  /** When anything came last, at the earliest. */
  #last: number;
  /** Until when the time is in the sum: blocks that were seen at once have it in common. */
  #counted = Number.NEGATIVE_INFINITY;
  #state: 'before' | 'thinking' | 'calling' | 'asking' | 'saying' | 'between' | 'served' | 'advising' = 'before';

  constructor(sentAt: number) {
    this.#boundary = sentAt;
    this.#last = sentAt;
  }

  /** Whether the model may now write what is not seen. */
  get isUnseen(): boolean {
    return this.#state === 'before' || this.#state === 'thinking' || this.#state === 'advising';
  }

  /** Notes that a block begins. Thinking before the news of its start belongs to it. */
  start(blockType: unknown, at: number, since = at): void {
    this.#last = since;
    // The model that declined has written before this block.
    if (this.#state === 'advising' || blockType === 'fallback') this.#count(at);
    if (this.#state === 'advising') this.#boundary = since;
    if (blockType === ADVISOR) this.#state = 'advising';
    else if (isThinkingType(blockType) || blockType === 'compaction') this.#state = 'thinking';
    else if (typeof blockType !== 'string' || !blockType.endsWith('tool_use')) this.#state = 'saying';
    else this.#state = blockType === 'tool_use' ? 'calling' : 'asking';
  }

  /** Notes that a block ends. */
  stop(at: number, since = at): void {
    if (this.#state === 'thinking') this.#count(at);
    // After a call of the API's own tool nothing is written until its result is there. Only an advisor writes.
    if (this.#state === 'asking') this.#state = 'served';
    else if (this.#state !== 'advising') this.#state = 'between';
    this.#boundary = since;
    this.#last = since;
  }

  /** Notes that output was seen, which came then at the earliest. */
  touch(since: number): void {
    this.#last = since;
  }

  /** @returns milliseconds of unseen output until `at`, when the answer was interrupted. */
  until(at: number): number {
    return this.#ms + (this.isUnseen ? this.#uncounted(at) : 0);
  }

  #count(at: number): void {
    this.#ms += this.#uncounted(at);
    this.#counted = at;
  }

  #uncounted(at: number): number {
    return Math.max(0, at - Math.max(this.#boundary, this.#counted));
  }

  /** @returns milliseconds of the silence before `at` in which a call, or the next block, may have been written. */
  silence(at: number): number {
    const isHidden = this.#state === 'calling' || this.#state === 'asking' || this.#state === 'between';
    return isHidden ? Math.max(0, at - this.#last) : 0;
  }
}
