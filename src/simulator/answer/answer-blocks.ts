import type { Json, JsonObject } from '../../api-rules/json.ts';
import type { RandomSource } from '../random/digest.ts';
import { estimateTokenCount, splitTokens } from '../text/tokens.ts';

/** A piece of a block in a stream, with the tokens that it took. */
export interface AnswerDelta {
  delta: JsonObject;
  tokens: number;
}

/** A block of an answer: its start in a stream, its deltas, and its final form. */
export interface AnswerBlock {
  start: JsonObject;
  /** The tokens that its start took, where it has all of the block. Default 0. */
  startTokens?: number;
  deltas: AnswerDelta[];
  final: JsonObject;
}

export type EarlyEndReason = { reason: 'limit' } | { reason: 'stop_sequence'; sequence: string };

/** Signs what is shown of thinking, and how many tokens it took. */
type ThinkingSigner = (shownText: string, tokens: number) => string;

/** The text of a note that was cut off. */
const INTERRUPTED_NOTE = 'This part of the response was interrupted before it finished.';
const DIRECT_CALLER = { type: 'direct' };

/**
 * Writes an answer block by block within a limit of tokens, and divides it into deltas of a few tokens each. Once the limit
 * or a stop sequence is reached, nothing more is written.
 */
export class AnswerWriter {
  readonly blocks: AnswerBlock[] = [];
  outputTokens = 0;
  thinkingTokens = 0;
  webSearches = 0;
  earlyEnd: EarlyEndReason | undefined;
  readonly #limit: number;
  readonly #stopSequences: readonly string[];
  readonly #random: RandomSource;

  /** @param limit the most tokens that may be written. */
  constructor(limit: number, stopSequences: readonly string[], random: RandomSource) {
    this.#limit = limit;
    this.#stopSequences = stopSequences;
    this.#random = random;
  }

  get remainingTokens(): number {
    return this.#limit - this.outputTokens;
  }

  /**
   * Writes thinking of which only a summary is shown, or nothing.
   *
   * @param amount how many tokens are thought
   * @param takesTime whether what is not shown takes its time, too
   * @param sign makes the signature of what is shown, and of its tokens
   */
  writeThinking(summary: string, amount: number, takesTime: boolean, sign: ThinkingSigner): void {
    if (this.earlyEnd !== undefined) return;
    const tokens = Math.min(amount, this.remainingTokens);
    if (tokens < amount) this.earlyEnd = { reason: 'limit' };
    if (tokens <= 0) return;
    this.outputTokens += tokens;
    const shown = splitTokens(summary, tokens);
    this.#writeThinkingBlock(shown, shown.join(''), tokens, takesTime ? tokens - shown.length : 0, sign);
  }

  /** Writes as thinking what is said between calls of tools. */
  writeThinkingNote(writeText: string, isShown: boolean, sign: ThinkingSigner): void {
    if (this.earlyEnd !== undefined) return;
    const tokens = this.#splitWithinLimit(writeText);
    const isWhole = this.earlyEnd === undefined;
    const shown = isWhole ? tokens : [INTERRUPTED_NOTE];
    this.#writeThinkingBlock(
      isShown ? shown : [],
      isShown ? shown.join('') : '',
      tokens.length,
      isShown ? 0 : tokens.length,
      sign,
    );
  }

  #writeThinkingBlock(pieces: string[], shown: string, tokens: number, unseen: number, sign: ThinkingSigner): void {
    this.thinkingTokens += tokens;
    const signature = sign(shown, tokens);
    const deltas = this.#divideIntoDeltas(pieces, (thinking) => ({ type: 'thinking_delta', thinking }));
    deltas.push({ delta: { type: 'signature_delta', signature }, tokens: unseen });
    const start = { type: 'thinking', thinking: '', signature: '' };
    this.blocks.push({ start, deltas, final: { type: 'thinking', thinking: shown, signature } });
  }

  writeRedactedThinking(data: string, tokens: number): void {
    if (this.earlyEnd !== undefined || this.remainingTokens < tokens) return;
    this.outputTokens += tokens;
    this.thinkingTokens += tokens;
    const block = { type: 'redacted_thinking', data };
    this.blocks.push({ start: block, deltas: [], final: block });
  }

  writeTextBlock(text: string, citations: JsonObject[] = []): void {
    if (this.earlyEnd !== undefined) return;
    const stop = this.#findEarliestStopSequence(text);
    const tokens = this.#splitWithinLimit(stop === undefined ? text : text.slice(0, stop.at));
    if (this.earlyEnd === undefined && stop !== undefined)
      this.earlyEnd = { reason: 'stop_sequence', sequence: stop.sequence };
    if (tokens.length === 0) return;
    const deltas = this.#divideIntoDeltas(tokens, (text) => ({ type: 'text_delta', text }));
    const written = tokens.join('');
    if (citations.length === 0) {
      this.blocks.push({ start: { type: 'text', text: '' }, deltas, final: { type: 'text', text: written } });
      return;
    }
    for (const citation of citations) deltas.push({ delta: { type: 'citations_delta', citation }, tokens: 0 });
    const start = { citations: [], type: 'text', text: '' };
    this.blocks.push({ start, deltas, final: { citations, type: 'text', text: written } });
  }

  /** @param server the MCP server whose tool is called */
  writeToolUse(
    type: 'tool_use' | 'server_tool_use' | 'mcp_tool_use',
    id: string,
    name: string,
    input: Json,
    server?: string,
  ): void {
    const forName = estimateTokenCount(name);
    if (this.earlyEnd !== undefined || this.remainingTokens < forName) {
      this.earlyEnd ??= { reason: 'limit' };
      return;
    }
    this.outputTokens += forName;
    const json = JSON.stringify(input);
    const createInputDelta = (partial_json: string) => ({ type: 'input_json_delta', partial_json });
    const deltas = [
      { delta: createInputDelta(''), tokens: forName },
      ...this.#divideIntoDeltas(this.#splitWithinLimit(json), createInputDelta),
    ];
    const caller = server === undefined ? { caller: DIRECT_CALLER } : { server_name: server };
    const start = { type, id, name, input: {}, ...caller };
    // If the answer ends early, the input of its call is incomplete and so no valid JSON. Only a stream can contain it. The
    // whole message has `{}` instead.
    this.blocks.push({ start, deltas, final: { ...start, input: this.earlyEnd === undefined ? input : {} } });
  }

  writeWebSearchResult(id: string, results: JsonObject[]): void {
    if (this.earlyEnd !== undefined) return;
    this.webSearches++;
    this.writeServerToolResult({
      type: 'web_search_tool_result',
      tool_use_id: id,
      content: results,
      caller: DIRECT_CALLER,
    });
  }

  /** Writes a result of a tool that the API runs. It takes no tokens of the answer. */
  writeServerToolResult(block: JsonObject): void {
    if (this.earlyEnd === undefined) this.blocks.push({ start: block, deltas: [], final: block });
  }

  #splitWithinLimit(text: string): string[] {
    if (this.earlyEnd !== undefined) return [];
    const tokens = splitTokens(text, this.remainingTokens + 1);
    if (tokens.length > this.remainingTokens) {
      tokens.pop();
      this.earlyEnd = { reason: 'limit' };
    }
    this.outputTokens += tokens.length;
    return tokens;
  }

  /** Divides tokens into deltas of one to five. */
  #divideIntoDeltas(tokens: string[], deltaOf: (text: string) => JsonObject): AnswerDelta[] {
    const deltas: AnswerDelta[] = [];
    for (let at = 0; at < tokens.length; ) {
      const some = tokens.slice(at, at + 1 + Math.floor(this.#random() * 5));
      deltas.push({ delta: deltaOf(some.join('')), tokens: some.length });
      at += some.length;
    }
    return deltas;
  }

  #findEarliestStopSequence(text: string): { at: number; sequence: string } | undefined {
    return this.#stopSequences
      .map((sequence) => ({ at: text.indexOf(sequence), sequence }))
      .filter(({ at }) => at !== -1)
      .toSorted((a, b) => a.at - b.at)[0];
  }
}
