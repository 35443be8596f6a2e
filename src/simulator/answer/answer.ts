import type { JsonObject } from '../../api-rules/json.ts';
import {
  computeDigest,
  createApiIdentifier,
  createRandom,
  type Digest,
  digestToHex,
  type RandomSource,
} from '../random/digest.ts';
import { getSignatureMark, signThinking, type ThinkingBinding } from '../random/signatures.ts';
import { getBlockText } from '../request/content-blocks.ts';
import type { MessageRequest } from '../request/message-request.ts';
import { getToolName } from '../request/tool-definitions.ts';
import { createSchemaValue } from '../schema/schema-values.ts';
import { listContentWords, shortenToSingleLine } from '../text/words.ts';
import { type AnswerBlock, AnswerWriter } from './answer-blocks.ts';
import { findQuotation } from './citations.ts';
import { chooseMcpTool, type McpTool } from './mcp-calls.ts';
import { extractPromptContents, type PromptContents } from './prompt-contents.ts';
import { composeAnswerText, composeThinkingText } from './prose.ts';
import { composeSummary } from './summary-text.ts';
import { decideThinkingTokens } from './thinking-amount.ts';
import {
  createToolCalls,
  createToolInput,
  findWordSharedWithTool,
  shouldSearchWeb,
  type ToolCall,
} from './tool-calls.ts';

export const FORCIBLE_STOP_REASONS = [
  'refusal',
  'pause_turn',
  'model_context_window_exceeded',
  'max_tokens',
  'end_turn',
] as const;

export type StopReason = (typeof FORCIBLE_STOP_REASONS)[number] | 'stop_sequence' | 'tool_use' | 'compaction';

/** An answer, before it becomes JSON or events. */
export interface ComposedAnswer {
  blocks: AnswerBlock[];
  stopReason: StopReason;
  stopSequence: string | null;
  stopDetails: JsonObject | null;
  outputTokens: number;
  thinkingTokens: number;
  webSearches: number;
}

/** The options of an answer, besides the request. */
export interface AnswerGenerationOptions {
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
  /** Whether a refused prompt is answered anyway, as a fallback model would. */
  isFallback?: boolean;
  /** The form of a summary: failed, or in a separate delta. Default: signed, and whole in the start of its block. */
  compaction?: 'null' | 'delta' | undefined;
}

// With these strings in the prompt, the API refuses or returns redacted thinking, so that clients can test both:
// https://platform.claude.com/docs/en/test-and-evaluate/strengthen-guardrails/handle-streaming-refusals and
// https://platform.claude.com/docs/en/build-with-claude/extended-thinking
export const REFUSAL_TRIGGER =
  'ANTHROPIC_MAGIC_STRING_TRIGGER_REFUSAL_1FAEFB6177B4672DEE07F9D3AFC62588CCD2631EDCF22E8CCC1FB35B501C9C86';
export const REDACTED_THINKING_TRIGGER =
  'ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING_46C9A13E193C177646C7398A98432ECCCE4C1253D5E2D82641AC0E52CC2876CB';

export const REFUSAL_DETAILS: JsonObject = { type: 'refusal', category: null, explanation: null };

export function containsTriggerText({ messages }: MessageRequest, trigger: string): boolean {
  return messages.some(({ blocks }) => blocks.some((block) => getBlockText(block).includes(trigger)));
}

/** The beginning of a message that requests a summary of the conversation. */
const SUMMARY_REQUEST = /^summarize this conversation\b/i;

class AnswerComposer {
  readonly #request: MessageRequest;
  readonly #conditions: AnswerGenerationOptions;
  readonly #contents: PromptContents;
  readonly #random: RandomSource;
  readonly #writer: AnswerWriter;
  #binding: ThinkingBinding;
  #ids = 0;

  constructor(request: MessageRequest, conditions: AnswerGenerationOptions) {
    this.#request = request;
    this.#conditions = conditions;
    this.#binding = request.binding;
    this.#contents = extractPromptContents(request);
    this.#random = createRandom(conditions.identity);
    const limit = Math.min(request.maxTokens, conditions.remainingWindow);
    this.#writer = new AnswerWriter(limit, request.stopSequences, this.#random);
  }

  buildAnswer(): ComposedAnswer {
    const { stopReason, text } = this.#conditions;
    if (this.#request.maxTokens === 0) return this.#finishAnswer('max_tokens');
    if (containsTriggerText(this.#request, REFUSAL_TRIGGER) && !this.#conditions.isFallback)
      return this.#finishAnswer('refusal');
    if (text !== undefined) {
      this.#writer.writeTextBlock(text);
      return this.#finishAnswer(stopReason);
    }
    if (stopReason !== undefined) return this.#composeAnswerWithStopReason(stopReason);
    if (SUMMARY_REQUEST.test(this.#contents.text)) return this.#composeSummaryAnswer();
    const isPaused = this.#contents.findOpenServerTools.length > 0;
    const calls = isPaused ? [] : createToolCalls(this.#request, this.#contents, this.#random);
    const served = isPaused || calls.length > 0 ? undefined : chooseMcpTool(this.#request, this.#contents);
    this.#writeThinking(calls);
    if (isPaused) this.#resumePausedWebSearches();
    else if (calls.length > 0) this.#writeToolCalls(calls);
    else if (served !== undefined) this.#simulateMcpCall(served);
    else if (shouldSearchWeb(this.#request, this.#contents)) this.#simulateWebSearch();
    else this.#writeAnswerText();
    return this.#finishAnswer(undefined);
  }

  /** Writes the same as a compaction would say. */
  #composeSummaryAnswer(): ComposedAnswer {
    this.#writeThinking([]);
    const mostTokens = Math.max(1, this.#writer.remainingTokens);
    this.#writer.writeTextBlock(composeSummary(this.#request.messages.slice(0, -1), mostTokens));
    return this.#finishAnswer(undefined);
  }

  #finishAnswer(forced: StopReason | undefined): ComposedAnswer {
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

  #createNextId(prefix: string): string {
    this.#ids++;
    return createApiIdentifier(prefix, computeDigest(String(this.#ids), this.#conditions.nonce));
  }

  /** Writes an answer that ends where a stop reason ends it: in a server tool's work, or in the middle of the text. */
  #composeAnswerWithStopReason(reason: StopReason): ComposedAnswer {
    if (reason === 'pause_turn' && shouldSearchWeb(this.#request, this.#contents)) {
      this.#writer.writeToolUse('server_tool_use', this.#createNextId('srvtoolu_'), 'web_search', {
        query: createSearchQuery(this.#contents.text),
      });
      return this.#finishAnswer(reason);
    }
    this.#writeThinking([]);
    const text = this.#composeAnswerText();
    this.#writer.writeTextBlock(
      reason === 'end_turn'
        ? text
        : text
            .slice(0, text.length / 2)
            .toWellFormed()
            .trimEnd(),
    );
    return this.#finishAnswer(reason);
  }

  #writeThinking(calls: ToolCall[]): void {
    const { thinking, effort, tools } = this.#request;
    if (thinking.type === 'disabled') return;
    if (containsTriggerText(this.#request, REDACTED_THINKING_TRIGGER)) {
      this.#writer.writeRedactedThinking(this.#signThinkingBlock('redacted', this.#contents.text, 12), 12);
      return;
    }
    const amount = this.#conditions.thinking ?? decideThinkingTokens(this.#request, this.#contents.text);
    if (amount === 0) return;
    const names = calls.map(({ name }) => name).join(' and ');
    const unused = tools.length > 0 ? 'None of the tools is to be called.' : 'No tool is offered.';
    const plan = calls.length > 0 ? `What fits is a call of ${names}.` : unused;
    const text = thinking.display === 'omitted' ? '' : composeThinkingText(this.#contents, plan, effort);
    this.#writer.writeThinking(text, amount, this.#conditions.thinking !== undefined, (shown, tokens) =>
      this.#signThinkingBlock('thinking', shown, tokens),
    );
  }

  #signThinkingBlock(kind: 'thinking' | 'redacted', subject: string, tokens: number): string {
    const sealed = signThinking(kind, subject, this.#binding, this.#conditions.seed, tokens);
    this.#binding = { ...this.#binding, previous: getSignatureMark(sealed), place: this.#binding.place + 1 };
    return sealed;
  }

  #writeToolCalls(calls: ToolCall[]): void {
    if (this.#request.toolChoice.type === 'auto') this.#announceToolCalls(calls);
    for (const { name, input } of calls)
      this.#writer.writeToolUse('tool_use', this.#createNextId('toolu_'), name, input);
  }

  /** Announces the called tools: in thinking, if the model's text between calls is thinking. */
  #announceToolCalls(calls: ToolCall[]): void {
    const { thinking, model } = this.#request;
    const text = this.#composeAnnouncement(calls);
    const isNote = model.thinks_aloud && (thinking.type !== 'disabled' || thinking.between_tools);
    if (!isNote) {
      this.#writer.writeTextBlock(text);
      return;
    }
    const isShown = thinking.type === 'disabled' || thinking.display !== 'omitted';
    this.#writer.writeThinkingNote(text, isShown, (shown, tokens) =>
      this.#signThinkingBlock('thinking', shown, tokens),
    );
  }

  #composeAnnouncement(calls: ToolCall[]): string {
    const reasons = calls.map(({ name }) => {
      const tool = this.#request.tools.find((entry) => getToolName(entry) === name);
      const word = tool === undefined ? undefined : findWordSharedWithTool(tool, this.#contents.text);
      return word === undefined ? name : `${name} (you wrote “${word}”)`;
    });
    return `This is Sluice’s built-in simulator, not Claude. It calls ${reasons.join(' and ')}.`;
  }

  /** Pretends to call a tool of an MCP server. */
  #simulateMcpCall({ server, tool }: McpTool): void {
    const name = getToolName(tool);
    const input = createToolInput(tool, this.#contents, this.#random);
    const id = this.#createNextId('mcptoolu_');
    this.#writer.writeTextBlock(
      `This is Sluice’s built-in simulator, not Claude. It pretends to call ${name} of the MCP server ${server}.`,
    );
    this.#writer.writeToolUse('mcp_tool_use', id, name, input, server);
    const content = [{ type: 'text', text: `${name} was called (simulated).` }];
    this.#writer.writeServerToolResult({ type: 'mcp_tool_result', tool_use_id: id, is_error: false, content });
    this.#writer.writeTextBlock(`No server was asked. ${name} would have got ${JSON.stringify(input)}.`);
  }

  #simulateWebSearch(): void {
    const query = createSearchQuery(this.#contents.text);
    const id = this.#createNextId('srvtoolu_');
    this.#writer.writeTextBlock('This is Sluice’s built-in simulator, not Claude. It pretends to search the web.');
    this.#writer.writeToolUse('server_tool_use', id, 'web_search', { query });
    this.#writeSearchResults(id, query);
  }

  #resumePausedWebSearches(): void {
    for (const block of this.#contents.findOpenServerTools) {
      this.#writeSearchResults(String(block.id), createSearchQuery(this.#contents.text));
    }
  }

  #writeSearchResults(id: string, query: string): void {
    const { seed } = this.#conditions;
    const results = generateSearchResults(query, seed);
    this.#writer.writeWebSearchResult(id, results);
    this.#writer.writeTextBlock(`For “${query}” it found ${results.length} pages, none of which exists: `);
    for (const result of results.slice(0, 1))
      this.#writer.writeTextBlock(`${result.title}.`, [createSearchCitation(result, seed)]);
  }

  #composeAnswerText(): string {
    const { tools } = this.#request;
    return composeAnswerText(this.#contents, tools.length, Math.max(1, this.#writer.remainingTokens), this.#random);
  }

  #writeAnswerText(): void {
    const { outputSchema } = this.#request;
    if (outputSchema !== undefined) {
      const { text, system } = this.#contents;
      const value = createSchemaValue(outputSchema, { text, descriptions: system, random: this.#random });
      this.#writer.writeTextBlock(JSON.stringify(value));
      return;
    }
    const quotation = findQuotation(this.#request.messages, this.#contents.text);
    if (quotation === undefined) {
      this.#writer.writeTextBlock(this.#composeAnswerText());
      return;
    }
    this.#writer.writeTextBlock(
      'This is Sluice’s built-in simulator, not Claude. The closest words of the documents are: ',
    );
    this.#writer.writeTextBlock(quotation.text, [quotation.citation]);
  }
}

/** Writes the answer to a request. Equal requests and conditions give equal answers; only ids depend on the nonce. */
export function composeAnswer(request: MessageRequest, conditions: AnswerGenerationOptions): ComposedAnswer {
  return new AnswerComposer(request, conditions).buildAnswer();
}

/** @returns the query for a search about the question */
function createSearchQuery(text: string): string {
  const words = listContentWords(text).filter((word) => !/^(search|latest|online|please|find)$/.test(word));
  return words.slice(0, 8).join(' ') || shortenToSingleLine(text, 60) || 'sluice';
}

/** Invents pages about a query, in the form of the API's search results. */
function generateSearchResults(query: string, seed: Digest): JsonObject[] {
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
function createSearchCitation(result: JsonObject, seed: Digest): JsonObject {
  const title = String(result.title);
  return {
    type: 'web_search_result_location',
    cited_text: `${title} does not exist outside the simulator.`,
    url: String(result.url),
    title,
    encrypted_index: btoa(`sluice-simulator:${digestToHex(computeDigest(title, seed))}`),
  };
}
