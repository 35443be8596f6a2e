/** Thinking is billed whole, and shown in part or not at all. */
export function isThinkingType(blockType: unknown): boolean {
  return typeof blockType === 'string' && blockType.endsWith('thinking');
}

/** In the place of a block's type: the use of an advisor, which writes until its result is there. */
export const ADVISOR = 'advisor';

/**
 * Measures for how long a model may have written what nobody saw: before its first block, while it thinks, and in a
 * silence of a tool call, whose input may come in large pieces, or between two blocks. What was seen is not measured by
 * time.
 *
 * Times are milliseconds since 1970, none earlier than the one before.
 */
export class HiddenOutputClock {
  /** Of what is over. */
  #ms = 0;
  /** When the last block ended; at first, when the request was sent. */
  #boundary: number;
  /** When something came last. */
  #last: number;
  #state: 'before' | 'thinking' | 'calling' | 'asking' | 'saying' | 'between' | 'served' | 'advising' = 'before';

  constructor(sentAt: number) {
    this.#boundary = sentAt;
    this.#last = sentAt;
  }

  /** Whether what is written now is not seen. */
  get isUnseen(): boolean {
    return this.#state === 'before' || this.#state === 'thinking' || this.#state === 'advising';
  }

  /** A block begins. What was thought before its start was told belongs to it. */
  start(blockType: unknown, at: number): void {
    this.#last = at;
    // What a model wrote that declined was written before this block.
    if (this.#state === 'advising' || blockType === 'fallback') this.#ms += Math.max(0, at - this.#boundary);
    if (this.#state === 'advising') this.#boundary = at;
    if (blockType === ADVISOR) this.#state = 'advising';
    else if (isThinkingType(blockType) || blockType === 'compaction') this.#state = 'thinking';
    else if (typeof blockType !== 'string' || !blockType.endsWith('tool_use')) this.#state = 'saying';
    else this.#state = blockType === 'tool_use' ? 'calling' : 'asking';
  }

  /** A block ends. */
  stop(at: number): void {
    if (this.#state === 'thinking') this.#ms += Math.max(0, at - this.#boundary);
    // Behind a call of a tool of the API's own nothing is written until its result is there; but an advisor writes.
    if (this.#state === 'asking') this.#state = 'served';
    else if (this.#state !== 'advising') this.#state = 'between';
    this.#boundary = at;
    this.#last = at;
  }

  /** Something was said. */
  touch(at: number): void {
    this.#last = at;
  }

  /** @returns milliseconds until `at`, when the answer was broken off. */
  until(at: number): number {
    return this.#ms + (this.isUnseen ? Math.max(0, at - this.#boundary) : 0);
  }

  /** @returns milliseconds of the silence before `at` in which a call, or the next block, may have been written. */
  silence(at: number): number {
    const isHidden = this.#state === 'calling' || this.#state === 'asking' || this.#state === 'between';
    return isHidden ? Math.max(0, at - this.#last) : 0;
  }
}
