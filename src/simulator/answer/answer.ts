import { type Digest, digest, hex, identifier, type Random, randomFrom } from '../random/digest.ts';
import { type Binding, markOf, sealThinking } from '../random/signatures.ts';
import { textOf } from '../request/content-blocks.ts';
import type { JsonObject } from '../request/json.ts';
import type { MessageRequest } from '../request/message-request.ts';
import { nameOf } from '../request/tool-definitions.ts';
import { valueFor } from '../schema/schema-values.ts';
import { contentWords, excerpt } from '../text/words.ts';
import { type AnswerBlock, AnswerWriter } from './answer-blocks.ts';
import { quotationFor } from './citations.ts';
import { type McpTool, mcpCall } from './mcp-calls.ts';
import { prose, thinkingProse } from './prose.ts';
import { summaryText } from './summary-text.ts';
import { thinkingAmount } from './thinking-amount.ts';
import { inputFor, sharedWord, type ToolCall, toolCalls, wantsWebSearch } from './tool-calls.ts';
import { type WhatWasSaid, whatWasSaid } from './what-was-said.ts';

export const FORCIBLE_STOP_REASONS = [
  'refusal',
  'pause_turn',
  'model_context_window_exceeded',
  'max_tokens',
  'end_turn',
] as const;

export type StopReason = (typeof FORCIBLE_STOP_REASONS)[number] | 'stop_sequence' | 'tool_use' | 'compaction';

/** An answer, before it becomes JSON or events. */
export interface Answer {
  blocks: AnswerBlock[];
  stopReason: StopReason;
  stopSequence: string | null;
  stopDetails: JsonObject | null;
  outputTokens: number;
  thinkingTokens: number;
  webSearches: number;
}

/** What an answer depends on, besides the request. */
export interface AnswerConditions {
  windowLeft: number;
  /** The seed of signatures and simulated pages. */
  seed: Digest;
  /** The digest of the request: an equal request gets an equal answer. */
  identity: Digest;
  /** The seed of ids, new for each answer. */
  nonce: Digest;
  /** The exact text of the answer, in place of the simulator's own. */
  text: string | undefined;
  stopReason: (typeof FORCIBLE_STOP_REASONS)[number] | undefined;
  /** How many tokens are thought, where anything may be. Default: by the question. */
  thinking?: number | undefined;
  /** Whether what is refused is answered all the same, as another model would. */
  isFallback?: boolean;
  /** How a summary comes: failed, or in a delta of its own. Default: signed, and whole in its block's start. */
  compaction?: 'null' | 'delta' | undefined;
}

// Texts of the API's documentation, which make it refuse or hide its thinking.
export const REFUSAL_TRIGGER =
  'ANTHROPIC_MAGIC_STRING_TRIGGER_REFUSAL_1FAEFB6177B4672DEE07F9D3AFC62588CCD2631EDCF22E8CCC1FB35B501C9C86';
export const REDACTED_THINKING_TRIGGER =
  'ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING_46C9A13E193C177646C7398A98432ECCCE4C1253D5E2D82641AC0E52CC2876CB';

export const REFUSAL_DETAILS: JsonObject = { type: 'refusal', category: null, explanation: null };

export function says({ messages }: MessageRequest, trigger: string): boolean {
  return messages.some(({ blocks }) => blocks.some((block) => textOf(block).includes(trigger)));
}

/** How a message begins that asks for a summary of all that was said. */
const ASKS_FOR_SUMMARY = /^summarize this conversation\b/i;

class Composer {
  readonly #request: MessageRequest;
  readonly #conditions: AnswerConditions;
  readonly #said: WhatWasSaid;
  readonly #random: Random;
  readonly #writer: AnswerWriter;
  #binding: Binding;
  #ids = 0;

  constructor(request: MessageRequest, conditions: AnswerConditions) {
    this.#request = request;
    this.#conditions = conditions;
    this.#binding = request.binding;
    this.#said = whatWasSaid(request);
    this.#random = randomFrom(conditions.identity);
    const limit = Math.min(request.maxTokens, conditions.windowLeft);
    this.#writer = new AnswerWriter(limit, request.stopSequences, this.#random);
  }

  compose(): Answer {
    const { stopReason, text } = this.#conditions;
    if (this.#request.maxTokens === 0) return this.#answer('max_tokens');
    if (says(this.#request, REFUSAL_TRIGGER) && !this.#conditions.isFallback) return this.#answer('refusal');
    if (text !== undefined) {
      this.#writer.text(text);
      return this.#answer(stopReason);
    }
    if (stopReason !== undefined) return this.#stoppedFor(stopReason);
    if (ASKS_FOR_SUMMARY.test(this.#said.text)) return this.#summarize();
    const isPaused = this.#said.openServerTools.length > 0;
    const calls = isPaused ? [] : toolCalls(this.#request, this.#said, this.#random);
    const served = isPaused || calls.length > 0 ? undefined : mcpCall(this.#request, this.#said);
    this.#think(calls);
    if (isPaused) this.#resume();
    else if (calls.length > 0) this.#call(calls);
    else if (served !== undefined) this.#callServer(served);
    else if (wantsWebSearch(this.#request, this.#said)) this.#search();
    else this.#say();
    return this.#answer(undefined);
  }

  /** Writes the same as a compaction would say. */
  #summarize(): Answer {
    this.#think([]);
    const mostTokens = Math.max(1, this.#writer.left);
    this.#writer.text(summaryText(this.#request.messages.slice(0, -1), mostTokens));
    return this.#answer(undefined);
  }

  #answer(forced: StopReason | undefined): Answer {
    const { blocks, end, outputTokens, thinkingTokens, webSearches } = this.#writer;
    const stopReason = forced ?? this.#stopReason();
    return {
      blocks,
      stopReason,
      stopSequence: stopReason === 'stop_sequence' && end?.reason === 'stop_sequence' ? end.sequence : null,
      stopDetails: stopReason === 'refusal' ? REFUSAL_DETAILS : null,
      outputTokens,
      thinkingTokens,
      webSearches,
    };
  }

  #stopReason(): StopReason {
    const { end, blocks } = this.#writer;
    if (end?.reason === 'stop_sequence') return 'stop_sequence';
    if (end?.reason === 'limit') {
      const isWindow = this.#conditions.windowLeft < this.#request.maxTokens;
      return isWindow ? 'model_context_window_exceeded' : 'max_tokens';
    }
    return blocks.some(({ final }) => final.type === 'tool_use') ? 'tool_use' : 'end_turn';
  }

  #newId(prefix: string): string {
    this.#ids++;
    return identifier(prefix, digest(String(this.#ids), this.#conditions.nonce));
  }

  /** Writes an answer that ends where a stop reason ends it: in a server tool's work, or in the middle of the text. */
  #stoppedFor(reason: StopReason): Answer {
    if (reason === 'pause_turn' && wantsWebSearch(this.#request, this.#said)) {
      this.#writer.toolUse('server_tool_use', this.#newId('srvtoolu_'), 'web_search', {
        query: searchQuery(this.#said.text),
      });
      return this.#answer(reason);
    }
    this.#think([]);
    const text = this.#prose();
    this.#writer.text(
      reason === 'end_turn'
        ? text
        : text
            .slice(0, text.length / 2)
            .toWellFormed()
            .trimEnd(),
    );
    return this.#answer(reason);
  }

  #think(calls: ToolCall[]): void {
    const { thinking, effort, tools } = this.#request;
    if (thinking.type === 'disabled') return;
    if (says(this.#request, REDACTED_THINKING_TRIGGER)) {
      this.#writer.redactedThinking(this.#seal('redacted', this.#said.text, 12), 12);
      return;
    }
    const amount = this.#conditions.thinking ?? thinkingAmount(this.#request, this.#said.text);
    if (amount === 0) return;
    const names = calls.map(({ name }) => name).join(' and ');
    const unused = tools.length > 0 ? 'None of the tools is to be called.' : 'No tool is offered.';
    const plan = calls.length > 0 ? `What fits is a call of ${names}.` : unused;
    const text = thinking.display === 'omitted' ? '' : thinkingProse(this.#said, plan, effort);
    this.#writer.thinking(text, amount, this.#conditions.thinking !== undefined, (shown, tokens) =>
      this.#seal('thinking', shown, tokens),
    );
  }

  #seal(kind: 'thinking' | 'redacted', subject: string, tokens: number): string {
    const sealed = sealThinking(kind, subject, this.#binding, this.#conditions.seed, tokens);
    this.#binding = { ...this.#binding, previous: markOf(sealed), place: this.#binding.place + 1 };
    return sealed;
  }

  #call(calls: ToolCall[]): void {
    if (this.#request.toolChoice.type === 'auto') this.#announce(calls);
    for (const { name, input } of calls) this.#writer.toolUse('tool_use', this.#newId('toolu_'), name, input);
  }

  /** Says what is called: in thinking, where that is how a model speaks between calls. */
  #announce(calls: ToolCall[]): void {
    const { thinking, model } = this.#request;
    const text = this.#announcement(calls);
    const isNote = model.thinks_aloud && (thinking.type !== 'disabled' || thinking.between_tools);
    if (!isNote) {
      this.#writer.text(text);
      return;
    }
    const isShown = thinking.type === 'disabled' || thinking.display !== 'omitted';
    this.#writer.note(text, isShown, (shown, tokens) => this.#seal('thinking', shown, tokens));
  }

  #announcement(calls: ToolCall[]): string {
    const reasons = calls.map(({ name }) => {
      const tool = this.#request.tools.find((entry) => nameOf(entry) === name);
      const word = tool === undefined ? undefined : sharedWord(tool, this.#said.text);
      return word === undefined ? name : `${name} (you wrote “${word}”)`;
    });
    return `This is Sluice’s built-in simulator, not Claude. It calls ${reasons.join(' and ')}.`;
  }

  /** Pretends to call a tool of an MCP server. */
  #callServer({ server, tool }: McpTool): void {
    const name = nameOf(tool);
    const input = inputFor(tool, this.#said, this.#random);
    const id = this.#newId('mcptoolu_');
    this.#writer.text(
      `This is Sluice’s built-in simulator, not Claude. It pretends to call ${name} of the MCP server ${server}.`,
    );
    this.#writer.toolUse('mcp_tool_use', id, name, input, server);
    const content = [{ type: 'text', text: `${name} was called (simulated).` }];
    this.#writer.result({ type: 'mcp_tool_result', tool_use_id: id, is_error: false, content });
    this.#writer.text(`No server was asked. ${name} would have got ${JSON.stringify(input)}.`);
  }

  #search(): void {
    const query = searchQuery(this.#said.text);
    const id = this.#newId('srvtoolu_');
    this.#writer.text('This is Sluice’s built-in simulator, not Claude. It pretends to search the web.');
    this.#writer.toolUse('server_tool_use', id, 'web_search', { query });
    this.#tellResults(id, query);
  }

  #resume(): void {
    for (const block of this.#said.openServerTools) {
      this.#tellResults(String(block.id), searchQuery(this.#said.text));
    }
  }

  #tellResults(id: string, query: string): void {
    const { seed } = this.#conditions;
    const results = searchResults(query, seed);
    this.#writer.webSearchResult(id, results);
    this.#writer.text(`For “${query}” it found ${results.length} pages, none of which exists: `);
    for (const result of results.slice(0, 1)) this.#writer.text(`${result.title}.`, [citationOf(result, seed)]);
  }

  #prose(): string {
    const { tools } = this.#request;
    return prose(this.#said, tools.length, Math.max(1, this.#writer.left), this.#random);
  }

  #say(): void {
    const { outputSchema } = this.#request;
    if (outputSchema !== undefined) {
      const { text, system } = this.#said;
      const value = valueFor(outputSchema, { text, descriptions: system, random: this.#random });
      this.#writer.text(JSON.stringify(value));
      return;
    }
    const quotation = quotationFor(this.#request.messages, this.#said.text);
    if (quotation === undefined) {
      this.#writer.text(this.#prose());
      return;
    }
    this.#writer.text('This is Sluice’s built-in simulator, not Claude. The closest words of the documents are: ');
    this.#writer.text(quotation.text, [quotation.citation]);
  }
}

/** Writes the answer to a request. Equal requests and conditions give equal answers; only ids depend on the nonce. */
export function answerTo(request: MessageRequest, conditions: AnswerConditions): Answer {
  return new Composer(request, conditions).compose();
}

/** @returns the query for a search about the question */
function searchQuery(text: string): string {
  const words = contentWords(text).filter((word) => !/^(search|latest|online|please|find)$/.test(word));
  return words.slice(0, 8).join(' ') || excerpt(text, 60) || 'sluice';
}

/** Invents pages about a query, in the form of the API's search results. */
function searchResults(query: string, seed: Digest): JsonObject[] {
  const slug = query.replace(/[^\p{L}\p{N}]+/gu, '-').slice(0, 60);
  return ['An overview', 'Questions and answers'].map((title, index) => ({
    type: 'web_search_result',
    title: `${title}: ${query} (simulated)`,
    url: `https://example.com/${index + 1}/${encodeURIComponent(slug.toWellFormed())}`,
    encrypted_content: btoa(`sluice-simulator:${hex(digest(`${query}:${index}`, seed))}`),
    page_age: null,
  }));
}

/** @returns the citation of an invented page */
function citationOf(result: JsonObject, seed: Digest): JsonObject {
  const title = String(result.title);
  return {
    type: 'web_search_result_location',
    cited_text: `${title} does not exist outside the simulator.`,
    url: String(result.url),
    title,
    encrypted_index: btoa(`sluice-simulator:${hex(digest(title, seed))}`),
  };
}
