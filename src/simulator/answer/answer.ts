import {
  computeDigest,
  createIdentifier,
  createRandom,
  type Digest,
  digestToHex,
  type Random,
} from '../random/digest.ts';
import { markOf, sealThinking, type ThinkingBinding } from '../random/signatures.ts';
import { textOf } from '../request/content-blocks.ts';
import type { JsonObject } from '../request/json.ts';
import type { MessageRequest } from '../request/message-request.ts';
import { nameOf } from '../request/tool-definitions.ts';
import { createSchemaValue } from '../schema/schema-values.ts';
import { contentWordsOf, shortenToLine } from '../text/words.ts';
import { type AnswerBlock, AnswerWriter } from './answer-blocks.ts';
import { findQuotation } from './citations.ts';
import { chooseMcpTool, type McpTool } from './mcp-calls.ts';
import { extractPromptContents, type PromptContents } from './prompt-contents.ts';
import { composeAnswerText, composeThinkingText } from './prose.ts';
import { composeSummary } from './summary-text.ts';
import { decideThinkingTokens } from './thinking-amount.ts';
import { createToolCalls, createToolInput, findSharedWord, shouldSearchWeb, type ToolCall } from './tool-calls.ts';

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
  remainingWindow: number;
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

export function containsTrigger({ messages }: MessageRequest, trigger: string): boolean {
  return messages.some(({ blocks }) => blocks.some((block) => textOf(block).includes(trigger)));
}

/** How a message begins that asks for a summary of all that was said. */
const SUMMARY_REQUEST = /^summarize this conversation\b/i;

class Composer {
  readonly #request: MessageRequest;
  readonly #conditions: AnswerConditions;
  readonly #contents: PromptContents;
  readonly #random: Random;
  readonly #writer: AnswerWriter;
  #binding: ThinkingBinding;
  #ids = 0;

  constructor(request: MessageRequest, conditions: AnswerConditions) {
    this.#request = request;
    this.#conditions = conditions;
    this.#binding = request.binding;
    this.#contents = extractPromptContents(request);
    this.#random = createRandom(conditions.identity);
    const limit = Math.min(request.maxTokens, conditions.remainingWindow);
    this.#writer = new AnswerWriter(limit, request.stopSequences, this.#random);
  }

  compose(): Answer {
    const { stopReason, text } = this.#conditions;
    if (this.#request.maxTokens === 0) return this.#answer('max_tokens');
    if (containsTrigger(this.#request, REFUSAL_TRIGGER) && !this.#conditions.isFallback) return this.#answer('refusal');
    if (text !== undefined) {
      this.#writer.text(text);
      return this.#answer(stopReason);
    }
    if (stopReason !== undefined) return this.#composeStoppedFor(stopReason);
    if (SUMMARY_REQUEST.test(this.#contents.text)) return this.#summarize();
    const isPaused = this.#contents.findOpenServerTools.length > 0;
    const calls = isPaused ? [] : createToolCalls(this.#request, this.#contents, this.#random);
    const served = isPaused || calls.length > 0 ? undefined : chooseMcpTool(this.#request, this.#contents);
    this.#think(calls);
    if (isPaused) this.#resumePausedTurn();
    else if (calls.length > 0) this.#writeToolCalls(calls);
    else if (served !== undefined) this.#callServer(served);
    else if (shouldSearchWeb(this.#request, this.#contents)) this.#searchWeb();
    else this.#writeProse();
    return this.#answer(undefined);
  }

  /** Writes the same as a compaction would say. */
  #summarize(): Answer {
    this.#think([]);
    const mostTokens = Math.max(1, this.#writer.remainingTokens);
    this.#writer.text(composeSummary(this.#request.messages.slice(0, -1), mostTokens));
    return this.#answer(undefined);
  }

  #answer(forced: StopReason | undefined): Answer {
    const { blocks, earlyEnd: end, outputTokens, thinkingTokens, webSearches } = this.#writer;
    const stopReason = forced ?? this.#decideStopReason();
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

  #decideStopReason(): StopReason {
    const { earlyEnd: end, blocks } = this.#writer;
    if (end?.reason === 'stop_sequence') return 'stop_sequence';
    if (end?.reason === 'limit') {
      const isWindow = this.#conditions.remainingWindow < this.#request.maxTokens;
      return isWindow ? 'model_context_window_exceeded' : 'max_tokens';
    }
    return blocks.some(({ final }) => final.type === 'tool_use') ? 'tool_use' : 'end_turn';
  }

  #newId(prefix: string): string {
    this.#ids++;
    return createIdentifier(prefix, computeDigest(String(this.#ids), this.#conditions.nonce));
  }

  /** Writes an answer that ends where a stop reason ends it: in a server tool's work, or in the middle of the text. */
  #composeStoppedFor(reason: StopReason): Answer {
    if (reason === 'pause_turn' && shouldSearchWeb(this.#request, this.#contents)) {
      this.#writer.writeToolUse('server_tool_use', this.#newId('srvtoolu_'), 'web_search', {
        query: toSearchQuery(this.#contents.text),
      });
      return this.#answer(reason);
    }
    this.#think([]);
    const text = this.#composeProse();
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
    if (containsTrigger(this.#request, REDACTED_THINKING_TRIGGER)) {
      this.#writer.writeRedactedThinking(this.#seal('redacted', this.#contents.text, 12), 12);
      return;
    }
    const amount = this.#conditions.thinking ?? decideThinkingTokens(this.#request, this.#contents.text);
    if (amount === 0) return;
    const names = calls.map(({ name }) => name).join(' and ');
    const unused = tools.length > 0 ? 'None of the tools is to be called.' : 'No tool is offered.';
    const plan = calls.length > 0 ? `What fits is a call of ${names}.` : unused;
    const text = thinking.display === 'omitted' ? '' : composeThinkingText(this.#contents, plan, effort);
    this.#writer.writeThinking(text, amount, this.#conditions.thinking !== undefined, (shown, tokens) =>
      this.#seal('thinking', shown, tokens),
    );
  }

  #seal(kind: 'thinking' | 'redacted', subject: string, tokens: number): string {
    const sealed = sealThinking(kind, subject, this.#binding, this.#conditions.seed, tokens);
    this.#binding = { ...this.#binding, previous: markOf(sealed), place: this.#binding.place + 1 };
    return sealed;
  }

  #writeToolCalls(calls: ToolCall[]): void {
    if (this.#request.toolChoice.type === 'auto') this.#announce(calls);
    for (const { name, input } of calls) this.#writer.writeToolUse('tool_use', this.#newId('toolu_'), name, input);
  }

  /** Says what is called: in thinking, where that is how a model speaks between calls. */
  #announce(calls: ToolCall[]): void {
    const { thinking, model } = this.#request;
    const text = this.#composeAnnouncement(calls);
    const isNote = model.thinks_aloud && (thinking.type !== 'disabled' || thinking.between_tools);
    if (!isNote) {
      this.#writer.text(text);
      return;
    }
    const isShown = thinking.type === 'disabled' || thinking.display !== 'omitted';
    this.#writer.writeNote(text, isShown, (shown, tokens) => this.#seal('thinking', shown, tokens));
  }

  #composeAnnouncement(calls: ToolCall[]): string {
    const reasons = calls.map(({ name }) => {
      const tool = this.#request.tools.find((entry) => nameOf(entry) === name);
      const word = tool === undefined ? undefined : findSharedWord(tool, this.#contents.text);
      return word === undefined ? name : `${name} (you wrote “${word}”)`;
    });
    return `This is Sluice’s built-in simulator, not Claude. It calls ${reasons.join(' and ')}.`;
  }

  /** Pretends to call a tool of an MCP server. */
  #callServer({ server, tool }: McpTool): void {
    const name = nameOf(tool);
    const input = createToolInput(tool, this.#contents, this.#random);
    const id = this.#newId('mcptoolu_');
    this.#writer.text(
      `This is Sluice’s built-in simulator, not Claude. It pretends to call ${name} of the MCP server ${server}.`,
    );
    this.#writer.writeToolUse('mcp_tool_use', id, name, input, server);
    const content = [{ type: 'text', text: `${name} was called (simulated).` }];
    this.#writer.writeServerToolResult({ type: 'mcp_tool_result', tool_use_id: id, is_error: false, content });
    this.#writer.text(`No server was asked. ${name} would have got ${JSON.stringify(input)}.`);
  }

  #searchWeb(): void {
    const query = toSearchQuery(this.#contents.text);
    const id = this.#newId('srvtoolu_');
    this.#writer.text('This is Sluice’s built-in simulator, not Claude. It pretends to search the web.');
    this.#writer.writeToolUse('server_tool_use', id, 'web_search', { query });
    this.#writeSearchResults(id, query);
  }

  #resumePausedTurn(): void {
    for (const block of this.#contents.findOpenServerTools) {
      this.#writeSearchResults(String(block.id), toSearchQuery(this.#contents.text));
    }
  }

  #writeSearchResults(id: string, query: string): void {
    const { seed } = this.#conditions;
    const results = inventSearchResults(query, seed);
    this.#writer.writeWebSearchResult(id, results);
    this.#writer.text(`For “${query}” it found ${results.length} pages, none of which exists: `);
    for (const result of results.slice(0, 1)) this.#writer.text(`${result.title}.`, [citationOf(result, seed)]);
  }

  #composeProse(): string {
    const { tools } = this.#request;
    return composeAnswerText(this.#contents, tools.length, Math.max(1, this.#writer.remainingTokens), this.#random);
  }

  #writeProse(): void {
    const { outputSchema } = this.#request;
    if (outputSchema !== undefined) {
      const { text, system } = this.#contents;
      const value = createSchemaValue(outputSchema, { text, descriptions: system, random: this.#random });
      this.#writer.text(JSON.stringify(value));
      return;
    }
    const quotation = findQuotation(this.#request.messages, this.#contents.text);
    if (quotation === undefined) {
      this.#writer.text(this.#composeProse());
      return;
    }
    this.#writer.text('This is Sluice’s built-in simulator, not Claude. The closest words of the documents are: ');
    this.#writer.text(quotation.text, [quotation.citation]);
  }
}

/** Writes the answer to a request. Equal requests and conditions give equal answers; only ids depend on the nonce. */
export function composeAnswer(request: MessageRequest, conditions: AnswerConditions): Answer {
  return new Composer(request, conditions).compose();
}

/** @returns the query for a search about the question */
function toSearchQuery(text: string): string {
  const words = contentWordsOf(text).filter((word) => !/^(search|latest|online|please|find)$/.test(word));
  return words.slice(0, 8).join(' ') || shortenToLine(text, 60) || 'sluice';
}

/** Invents pages about a query, in the form of the API's search results. */
function inventSearchResults(query: string, seed: Digest): JsonObject[] {
  const slug = query.replace(/[^\p{L}\p{N}]+/gu, '-').slice(0, 60);
  return ['An overview', 'Questions and answers'].map((title, index) => ({
    type: 'web_search_result',
    title: `${title}: ${query} (simulated)`,
    url: `https://example.com/${index + 1}/${encodeURIComponent(slug.toWellFormed())}`,
    encrypted_content: btoa(`sluice-simulator:${digestToHex(computeDigest(`${query}:${index}`, seed))}`),
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
    encrypted_index: btoa(`sluice-simulator:${digestToHex(computeDigest(title, seed))}`),
  };
}
