import type { RawMessageStreamEvent } from '@anthropic-ai/sdk/resources/messages';

/** When Claude began to think, and when it had thought; in milliseconds of `performance.now()`. */
export interface ThinkingSpan {
  readonly startedAt: number;
  readonly endedAt: number | undefined;
}

/** Keeps how long Claude thought, as this page saw it. The history does not contain that. */
export class ThinkingTimeRecorder {
  readonly #spans = new Map<string, ThinkingSpan>();

  recordStreamEvent(turn: string | undefined, event: RawMessageStreamEvent): void {
    if (turn === undefined) return;
    if (event.type === 'content_block_start' && event.content_block.type === 'thinking') {
      this.#spans.set(`${turn} ${event.index}`, { startedAt: performance.now(), endedAt: undefined });
    } else if (event.type === 'content_block_stop') {
      const span = this.#spans.get(`${turn} ${event.index}`);
      if (span) this.#spans.set(`${turn} ${event.index}`, { ...span, endedAt: performance.now() });
    }
  }

  /** @returns undefined where it was not seen. @param index of the block in its message */
  findThinkingSpan(turn: string | undefined, index: number): ThinkingSpan | undefined {
    return this.#spans.get(`${turn} ${index}`);
  }
}
