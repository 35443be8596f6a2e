import { decoder, encodeUtf8 } from '../../kit/http/bytes.ts';
import { BACKSLASH, QUOTE } from '../../kit/json/characters.ts';
import { getMember, toStringOrUndefined } from '../../kit/json/object.ts';
import { parseJsonOrUndefined } from '../../kit/json/parse.ts';
import { isDigitByte, rangeStartsWith } from '../../kit/sse/bytes.ts';
import { computeTextTokenUpperBound, computeTokenUpperBound } from '../pricing/token-upper-bound.ts';
import { ADVISOR_BLOCK, HiddenOutputClock, isThinkingType } from './hidden-output.ts';
import {
  getToolStatisticsKey,
  listModelsOfFallbackAnswer,
  type ObservedPart,
  type OutputSnapshot,
} from './usage-report.ts';

const DELTA_HEAD = encodeUtf8('{"type":"content_block_delta","index":');
const DELTA_TYPE = encodeUtf8(',"delta":{"type":"');
const THINKING = encodeUtf8('thinking_delta');
const SIGNATURE = encodeUtf8('signature_delta');
const TEXT_TYPE = encodeUtf8('text_delta');
const INPUT_TYPE = encodeUtf8('input_json_delta');
/**
 * The cost of a use of each of the API's own tools, in addition to the steps that follow it. The cost of any other tool is
 * unknown.
 */
const SERVER_TOOL_COSTS: ReadonlyMap<string, 'nothing' | 'search' | 'code' | 'advice'> = new Map([
  ['web_fetch', 'nothing'],
  ['tool_search_tool_regex', 'nothing'],
  ['tool_search_tool_bm25', 'nothing'],
  ['web_search', 'search'],
  ['code_execution', 'code'],
  ['bash_code_execution', 'code'],
  ['text_editor_code_execution', 'code'],
  ['advisor', 'advice'],
]);
/** Tools that add little to the prompt: an advice, and definitions of tools that are in the request. */
const SHORT_RESULT_TOOLS = /^(?:advisor|tool_search)/;
/** Tokens that a block takes beside its text, and a tool call beside its name and input. */
const TOKENS_PER_BLOCK = 4;
const TOKENS_PER_CALL = 40;
/** Deltas of what the model has written, letter by letter. */
const OUTPUT_DELTAS: ReadonlySet<string> = new Set(['text_delta', 'input_json_delta']);
/** Deltas that the model has not written: signatures, and citations of a source that was paid for as input. */
const NON_OUTPUT_DELTAS: ReadonlySet<string> = new Set(['signature_delta', 'citations_delta']);

/** The start of a block: its `content_block`, and what decides how the block is measured. */
interface BlockStart {
  block: unknown;
  type: string;
  name: string;
  at: number;
}

/** How a block is measured. `hidden thinking` is measured by the clock only. */
type BlockKind =
  | 'text'
  | 'thinking'
  | 'hidden thinking'
  | 'client tool'
  | 'server tool'
  | 'tool result'
  | 'fallback'
  | 'unknown';

function getBlockKind(type: string): BlockKind {
  if (type === 'text' || type === 'thinking' || type === 'fallback') return type;
  if (type === 'tool_use') return 'client tool';
  if (type.endsWith('tool_use')) return 'server tool';
  if (type.endsWith('_tool_result')) return 'tool result';
  return isThinkingType(type) ? 'hidden thinking' : 'unknown';
}

/** Measures the seen part of an answer, block by block, so that it can be settled if it is interrupted. */
export class VisibleOutputMeter {
  /** The models before and after each switch to a fallback model, as in `ResponseReport`. */
  handoverModels: readonly string[] | undefined;
  /** The letters that have arrived in deltas of texts and inputs. */
  characters = 0;
  readonly #clock: HiddenOutputClock;
  #outputTokens = 0;
  #thinkingTokens = 0;
  #results = 0;
  #searches = 0;
  #advisorUses = 0;
  #advisedTokens = 0;
  #opaqueUses = 0;
  #uses = 0;
  #runningUses = 0;
  /** The names of the tools that run, by the id of their use. */
  readonly #runningTools = new Map<string, string>();
  /** The tokens of the longest result of each tool, by its name. */
  readonly #resultsByTool = new Map<string, number>();
  #longestResult = 0;
  #hasRunCode = false;
  #laterPrompts: OutputSnapshot[] = [];
  #handover: OutputSnapshot | undefined;
  /** Set after a use or a result of the API's own tool: then the next block begins a new step. */
  #isStepOver = false;

  /** @param sentAt when the request was sent; milliseconds since 1970 */
  constructor(sentAt: number) {
    this.#clock = new HiddenOutputClock(sentAt);
  }

  /**
   * @param at when the answer was interrupted; milliseconds since 1970
   * @param unfinished bytes of an incomplete event. The model has written them, or has read them in the next step: a result of
   *   the API's own tool may be long
   * @param final whether the final usage has arrived
   * @returns what was seen until then, with its deltas measured
   */
  createObservedPart(
    at: number,
    unfinished: { isDelta: boolean; bytes: Uint8Array } | undefined,
    final: boolean,
  ): ObservedPart {
    const half = unfinished ? computeTokenUpperBound(unfinished.bytes) : 0;
    const isResult = this.#isStepOver && unfinished?.isDelta === false;
    return {
      said: Math.ceil(this.#outputTokens + (isResult ? 0 : half)),
      thinking: Math.ceil(this.#thinkingTokens),
      unseen_ms: this.#clock.computeHiddenMsUntil(at),
      silent_ms: this.#clock.computeSilentOutputMs(at),
      lost_ms: this.#clock.computeMsSinceLastEventOrPing(at),
      quiet_ms: this.#clock.computeMsSinceLastEvent(at),
      is_between: this.#clock.isBetweenBlocks || undefined,
      is_advising: this.#clock.isAdvising || undefined,
      uses: this.#uses,
      running_uses: this.#runningUses,
      running_tools: this.#runningTools.size > 0 ? [...this.#runningTools.values()] : undefined,
      runs_tool: this.#clock.isRunningTool,
      longest_result: Math.ceil(this.#longestResult),
      runs_code: this.#hasRunCode,
      searches: this.#searches,
      advised: this.#advisorUses,
      advised_tokens: Math.ceil(this.#advisedTokens),
      opaque_uses: this.#opaqueUses,
      later_prompts: [
        ...this.#laterPrompts,
        ...(this.#isStepOver ? [this.#createOutputSnapshot(at, isResult ? half : 0)] : []),
      ],
      handed_over: this.#handover,
      final,
    };
  }

  /** The tokens of the longest result of each tool that has answered; undefined if none has. */
  get longestToolResultTokens(): Record<string, number> | undefined {
    return this.#resultsByTool.size > 0 ? Object.fromEntries(this.#resultsByTool) : undefined;
  }

  /** Records that output arrived which is not measured. @param since the earliest time at which it may have arrived */
  recordUnmeasuredOutput(since: number): void {
    this.#clock.recordVisibleOutput(since);
  }

  /** Records a ping of the upstream. @param since the earliest time at which it may have arrived */
  recordPing(since: number): void {
    this.#clock.recordPing(since);
  }

  /** Records the end of a block, which came between `since` and `at`. */
  recordBlockEnd(at: number, since: number): void {
    this.#clock.recordBlockEnd(at, since);
  }

  /** The tokens that have arrived since the first prompt. */
  get #totalOutputTokens(): number {
    return this.#outputTokens + this.#thinkingTokens + this.#results;
  }

  #createOutputSnapshot(at: number, more = 0): OutputSnapshot {
    return { tokens: Math.ceil(this.#totalOutputTokens + more), unseen_ms: this.#clock.computeHiddenMsUntil(at) };
  }

  /**
   * Records the beginning of a block, which came between `since` and `at`.
   *
   * @param block the `content_block` of its start event
   */
  recordBlockStart(block: unknown, at: number, since: number): void {
    const type = toStringOrUndefined(getMember(block, 'type')) ?? '';
    const name = toStringOrUndefined(getMember(block, 'name')) ?? '';
    const kind = getBlockKind(type);
    if (this.#isStepOver && kind !== 'tool result') {
      this.#laterPrompts.push(this.#createOutputSnapshot(at));
      this.#isStepOver = false;
    }
    this.#clock.recordBlockStart(type === 'server_tool_use' && name === 'advisor' ? ADVISOR_BLOCK : type, at, since);
    VisibleOutputMeter.#recordStart[kind](this, { block, type, name, at });
  }

  static readonly #recordStart: Readonly<Record<BlockKind, (meter: VisibleOutputMeter, start: BlockStart) => void>> = {
    text: (meter, { block }) => {
      meter.#outputTokens += TOKENS_PER_BLOCK + measureText(getMember(block, 'text'));
    },
    thinking: (meter, { block }) => {
      meter.#thinkingTokens += TOKENS_PER_BLOCK + measureText(getMember(block, 'thinking'));
    },
    'hidden thinking': () => {},
    'client tool': (meter, start) => meter.#recordCall(start),
    'server tool': (meter, start) => {
      meter.#recordCall(start);
      meter.#recordServerToolUse(start);
    },
    'tool result': (meter, { block, type }) => meter.#recordToolResult(block, type),
    fallback: (meter, { block, at }) => {
      meter.#handover = meter.#createOutputSnapshot(at);
      meter.handoverModels = [...(meter.handoverModels ?? []), ...(listModelsOfFallbackAnswer([block]) ?? [])];
    },
    // A block of an unknown type may have its content in its start event or in deltas, so count both.
    unknown: (meter, { block }) => {
      meter.#outputTokens += computeTextTokenUpperBound(JSON.stringify(block ?? ''));
    },
  };

  #recordCall({ block, name }: BlockStart): void {
    const input = getMember(block, 'input');
    this.#outputTokens += TOKENS_PER_CALL + computeTextTokenUpperBound(name);
    if (Object.keys(input ?? {}).length > 0) this.#outputTokens += computeTextTokenUpperBound(JSON.stringify(input));
  }

  #recordServerToolUse({ block, type, name }: BlockStart): void {
    this.#isStepOver = true;
    this.#uses += 1;
    if (!SHORT_RESULT_TOOLS.test(name)) {
      this.#runningUses += 1;
      this.#runningTools.set(String(getMember(block, 'id')), getToolStatisticsKey(type, name));
    }
    if (type === 'mcp_tool_use') return;
    const cost = type === 'server_tool_use' ? SERVER_TOOL_COSTS.get(name) : undefined;
    if (cost === undefined) this.#opaqueUses += 1;
    if (cost === 'search') this.#searches += 1;
    if (cost === 'code') this.#hasRunCode = true;
    if (cost === 'advice') {
      this.#advisorUses += 1;
      this.#advisedTokens += this.#totalOutputTokens;
    }
  }

  #recordToolResult(block: unknown, type: string): void {
    if (!SHORT_RESULT_TOOLS.test(type)) this.#runningUses = Math.max(0, this.#runningUses - 1);
    const result = computeTextTokenUpperBound(JSON.stringify(getMember(block, 'content') ?? ''));
    const use = String(getMember(block, 'tool_use_id'));
    const tool = this.#runningTools.get(use);
    this.#runningTools.delete(use);
    if (tool !== undefined) this.#resultsByTool.set(tool, Math.max(result, this.#resultsByTool.get(tool) ?? 0));
    this.#results += result;
    this.#longestResult = Math.max(this.#longestResult, result);
    this.#isStepOver = true;
  }

  /**
   * Measures the data of a `content_block_delta`.
   *
   * @returns false if it is not complete JSON
   */
  measureDelta(bytes: Uint8Array, start: number, end = bytes.length): boolean {
    if (this.#measurePlainDelta(bytes, start, end)) return true;
    const event = parseJsonOrUndefined(decoder.decode(bytes.subarray(start, end)));
    if (event === undefined) return false;
    const delta = getMember(event, 'delta');
    if (typeof delta !== 'object' || delta === null) return true;
    const type = toStringOrUndefined(getMember(delta, 'type')) ?? '';
    if (NON_OUTPUT_DELTAS.has(type)) return true;
    const strings = Object.entries(delta).filter(([key, value]) => key !== 'type' && typeof value === 'string');
    const tokens = strings.reduce((sum, [, value]) => sum + computeTextTokenUpperBound(String(value)), 0);
    if (OUTPUT_DELTAS.has(type)) this.characters += strings.reduce((sum, [, value]) => sum + String(value).length, 0);
    if (type === 'thinking_delta') this.#thinkingTokens += tokens;
    else this.#outputTokens += tokens;
    return true;
  }

  /**
   * Measures a delta in the usual form (one string without escapes) without decoding it.
   *
   * @returns false for any other form
   */
  #measurePlainDelta(bytes: Uint8Array, start: number, end: number): boolean {
    if (!rangeStartsWith(bytes, start, end, DELTA_HEAD)) return false;
    let at = start + DELTA_HEAD.length;
    while (isDigitByte(bytes[at])) at += 1;
    if (!rangeStartsWith(bytes, at, end, DELTA_TYPE)) return false;
    const type = at + DELTA_TYPE.length;
    const typeEnd = bytes.indexOf(QUOTE, type);
    const key = bytes.indexOf(QUOTE, typeEnd + 1);
    const keyEnd = bytes.indexOf(QUOTE, key + 1);
    const open = bytes.indexOf(QUOTE, keyEnd + 1);
    const close = bytes.indexOf(QUOTE, open + 1);
    // The line ends with `"}}`, so the delta has a single string and no other field. A string with a backslash may contain
    // escaped quotes.
    if (close !== end - 3 || open !== keyEnd + 2 || key !== typeEnd + 2) return false;
    if (bytes.subarray(open + 1, close).includes(BACKSLASH)) return false;
    if (rangeStartsWith(bytes, type, typeEnd, SIGNATURE)) return true;
    const tokens = computeTokenUpperBound(bytes, open + 1, close);
    if (rangeStartsWith(bytes, type, typeEnd, TEXT_TYPE) || rangeStartsWith(bytes, type, typeEnd, INPUT_TYPE))
      for (let byte = open + 1; byte < close; byte += 1) if (isFirstByte(bytes[byte] ?? 0)) this.characters += 1;
    if (rangeStartsWith(bytes, type, typeEnd, THINKING)) this.#thinkingTokens += tokens;
    else this.#outputTokens += tokens;
    return true;
  }
}

/** @returns whether a byte of UTF-8 is the first one of its character */
function isFirstByte(byte: number): boolean {
  return (byte & 0xc0) !== 0x80;
}

function measureText(text: unknown): number {
  return computeTextTokenUpperBound(toStringOrUndefined(text) ?? '');
}
