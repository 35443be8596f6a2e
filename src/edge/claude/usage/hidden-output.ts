/** @returns whether a block is thinking. All of it is billed, but only a part of it, or nothing, is shown. */
export function isThinkingType(blockType: unknown): boolean {
  return typeof blockType === 'string' && blockType.endsWith('thinking');
}

/** The block type of a use of an advisor. The advisor writes until its result arrives. */
export const ADVISOR_BLOCK = 'advisor';

/** Milliseconds of silence that are usual between two deltas of a text, with the time by which a piece may be read late. */
export const USUAL_PAUSE_MS = 500;

/**
 * Measures for how long a model may have written unseen output: before its first block, while it thinks, between two blocks, in
 * a silence during a tool call (its input may come in large pieces), and in a longer silence during a text (then its output is
 * delayed). Seen output is measured by its text, not by time.
 *
 * Times are milliseconds since 1970, and each is at least the one before. Something that was read late may have arrived at any
 * time from `since` to `at`. A time of unseen output begins with the earlier and ends with the later of the two.
 */
export class HiddenOutputClock {
  /** The sum of the times that have ended, in milliseconds. */
  #hiddenMs = 0;
  /** The earliest time at which the last block may have ended; before the first block, when the request was sent. */
  #boundary: number;
  /** The earliest time at which the last thing may have arrived. */
  #lastOutputAt: number;
  /** The same for the last ping. Output that was written before a ping arrives before it. */
  #lastPingAt = Number.NEGATIVE_INFINITY;
  /** The time up to which the sum counts. Blocks that were read together must not be counted twice. */
  #countedUntil = Number.NEGATIVE_INFINITY;
  /** When the first delta behind all thinking was read; and when the last one came, at the earliest. */
  #firstDeltaAt: number | undefined;
  #lastDeltaAt = 0;
  /** Whether every delta came as it was written, in one step of one model. */
  #isOpen = true;
  /** Whether there was a block of thinking. */
  hasThought = false;
  #state: 'before' | 'thinking' | 'calling' | 'asking' | 'saying' | 'between' | 'served' | 'advising' = 'before';

  constructor(sentAt: number) {
    this.#boundary = sentAt;
    this.#lastOutputAt = sentAt;
  }

  /** Whether the model may now be writing unseen output. */
  get isUnseen(): boolean {
    return this.#state === 'before' || this.#state === 'thinking' || this.#state === 'advising';
  }

  /** Whether the last event is a use of the API's own tool, which runs. */
  get isRunningTool(): boolean | undefined {
    return this.#state === 'served' || undefined;
  }

  /** Whether an advisor writes, so that no other one may begin. */
  get isAdvising(): boolean {
    return this.#state === 'advising';
  }

  /** Whether the last event has ended a block: another model may have begun behind it, and a use of a tool has not. */
  get isBetweenBlocks(): boolean {
    return this.#state === 'between';
  }

  /** Records that a block begins. The thinking before its start event belongs to it. */
  recordBlockStart(blockType: unknown, at: number, since = at): void {
    this.#lastOutputAt = since;
    // A `fallback` block begins where another model takes over
    // (https://platform.claude.com/docs/en/build-with-claude/refusals-and-fallback). The model before may have generated output
    // that was never shown, so count the time before the block.
    if (this.#state === 'advising' || blockType === 'fallback') this.#addHiddenMsUntil(at);
    if (this.#state === 'advising') this.#boundary = since;
    if (blockType === ADVISOR_BLOCK) this.#state = 'advising';
    else if (isThinkingType(blockType) || blockType === 'compaction') this.#state = 'thinking';
    else if (typeof blockType !== 'string' || !blockType.endsWith('tool_use')) this.#state = 'saying';
    else this.#state = blockType === 'tool_use' ? 'calling' : 'asking';
    const isOther = blockType === 'fallback' || blockType === 'compaction';
    if (isOther || this.#state === 'asking' || this.#state === 'advising') this.#isOpen = false;
  }

  /** Records that a block ends. */
  recordBlockEnd(at: number, since = at): void {
    if (this.#state === 'thinking') {
      this.#addHiddenMsUntil(at);
      this.#firstDeltaAt = undefined;
      this.hasThought = true;
    }
    // While the API runs one of its own tools, the model generates nothing, so that silence hides no output. While an advisor
    // runs, it does.
    if (this.#state === 'asking') this.#state = 'served';
    else if (this.#state !== 'advising') this.#state = 'between';
    this.#boundary = since;
    this.#lastOutputAt = since;
  }

  /**
   * Records that output was seen.
   *
   * @param since the earliest time at which it may have arrived, as far as a silence after it is concerned
   * @param earliest the same, for how fast it was written
   */
  recordVisibleOutput(since: number, earliest = since): void {
    this.#lastOutputAt = since;
    this.#lastDeltaAt = earliest;
    if (this.#firstDeltaAt !== undefined) return;
    this.#firstDeltaAt = since;
    // The input of a tool call may arrive in large pieces, so the time since the first delta understates how long it took to
    // generate.
    if (this.#state === 'calling') this.#isOpen = false;
  }

  /** The least milliseconds from the first delta behind all thinking to the last one; undefined if there is no telling. */
  get visibleOutputMs(): number | undefined {
    const first = this.#firstDeltaAt;
    return this.#isOpen && first !== undefined ? Math.max(0, this.#lastDeltaAt - first) : undefined;
  }

  /** Records a ping of the upstream. @param since the earliest time at which it may have arrived */
  recordPing(since: number): void {
    this.#lastPingAt = since;
  }

  /** @returns milliseconds of unseen output until `at`, when the answer was interrupted. */
  computeHiddenMsUntil(at: number): number {
    return this.#hiddenMs + (this.isUnseen ? this.#computeUncountedMs(at) : 0);
  }

  #addHiddenMsUntil(at: number): void {
    this.#hiddenMs += this.#computeUncountedMs(at);
    this.#countedUntil = at;
  }

  #computeUncountedMs(at: number): number {
    return Math.max(0, at - Math.max(this.#boundary, this.#countedUntil));
  }

  /** @returns milliseconds between the last event or ping and `at`. */
  computeMsSinceLastEventOrPing(at: number): number {
    return Math.max(0, at - Math.max(this.#lastOutputAt, this.#lastPingAt));
  }

  /** @returns milliseconds between the last event that is no ping and `at`. The API may ping while another model begins. */
  computeMsSinceLastEvent(at: number): number {
    return Math.max(0, at - this.#lastOutputAt);
  }

  /** @returns milliseconds of the silence before `at` in which a call, the next block, or more of a text may have been written. */
  computeSilentOutputMs(at: number): number {
    if (this.#state === 'saying' || this.#state === 'served') {
      // Text is streamed as the model generates it, and a running tool generates nothing, so silence here hides no output.
      // Without even a ping, the connection itself may be silent.
      const silence = this.computeMsSinceLastEventOrPing(at);
      return silence > USUAL_PAUSE_MS ? silence : 0;
    }
    const isHidden = this.#state === 'calling' || this.#state === 'asking' || this.#state === 'between';
    return isHidden ? Math.max(0, at - this.#lastOutputAt) : 0;
  }
}
