import type { StreamEnd } from '../sse/endings.ts';
import { LineReader } from '../sse/lines.ts';
import { isCount, type Usage } from './cost.ts';
import { mostTokens, mostTokensOf } from './token-bound.ts';
import { ADVISOR, isThinking, UnseenClock } from './unseen-clock.ts';

/** What has come since the first prompt. */
export interface Carried {
  tokens: number;
  /** Milliseconds in which something may have been written that was not seen. */
  unseen_ms: number;
}

/** What of an answer was seen, and how long what was not seen may have been written: what an interrupted one costs. */
export interface Seen {
  /** Tokens of text, of the input of tool calls, and of what frames them, from above. */
  said: number;
  /** Tokens of the thinking that was shown, from above. */
  thinking: number;
  /** Milliseconds in which something may have been written that was not seen. */
  unseen_ms: number;
  /** Milliseconds of a silence at the end in which something may have been written. */
  silent_ms: number;
  /** Web searches that were begun. */
  searches: number;
  /** Uses of an advisor, and what had come before each of them, summed in tokens. */
  advised: number;
  advised_tokens: number;
  /** Uses of tools whose cost cannot be told from a stream: they run code, or call the API again. */
  opaque_uses: number;
  /** The prompts that the API read behind results of its own tools: what each had beyond the first one. */
  later_prompts: readonly Carried[];
  /** What had come when another model stepped in, for the last time. */
  handed_over?: Carried | undefined;
  /** Whether the final usage has come: `message_delta` with its stop reason. */
  final: boolean;
}

/** What an answer told about itself: what a ledger row and the log need. */
export interface Report {
  model: string | undefined;
  usage: Usage | undefined;
  stop_reason: string | null;
  /** Bytes of the whole body. */
  bytes: number;
  /** What an interrupted answer is settled by; absent where the whole of it tells. */
  seen?: Seen | undefined;
  /** The models that had a part in it, where one stepped in for another. */
  fallbacks?: readonly string[] | undefined;
  /** Whether the answer ended as the API ends it: `message_stop`, or a whole JSON body. */
  completed: boolean;
  /** The type of the `error` event or body, if that is how it ended. */
  error_type: string | undefined;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const utf8 = (text: string) => encoder.encode(text);

const EVENT = utf8('event:');
const DATA = utf8('data:');
const DELTA_NAME = 'content_block_delta';
const DELTA = utf8(DELTA_NAME);
/** The events at the two ends of a stream, as the API writes them. */
const MESSAGE_START = utf8('event: message_start\ndata: ');
const BLOCK_STOP = utf8('data: {"type":"content_block_stop"');
const MESSAGE_DELTA = utf8('\nevent: message_delta\n');
const MESSAGE_STOP = utf8('\nevent: message_stop\ndata: {"type":"message_stop"}\n\n');
/** A longer stream is read line by line as it comes, so that it does not lie in memory. */
const UNREAD_BYTES = 262_144;
/** The last events are looked for within these. */
const TAIL_BYTES = 4_096;
const LINE_FEED = 10;
const DELTA_HEAD = utf8('{"type":"content_block_delta","index":');
const DELTA_TYPE = utf8(',"delta":{"type":"');
const THINKING = utf8('thinking_delta');
/** Tools of the API's own that cost nothing beside the steps behind them. */
const COUNTED_TOOLS: ReadonlySet<string> = new Set(['web_fetch', 'tool_search_tool_regex', 'tool_search_tool_bm25']);
/** What frames a block; a call of a tool, beside its name and input. */
const PER_BLOCK = 4;
const PER_CALL = 40;
const SIGNATURE = utf8('signature_delta');
/** Stands for the data of a delta, whose text is not kept: only that it is whole matters to an ending. */
const COUNTED = '{}';
const SPACE = 32;
const QUOTE = 34;
const BACKSLASH = 92;

/** Deltas that are not said by the model: a signature, and the citations of a source that the prompt paid for. */
const NOT_OUTPUT: ReadonlySet<string> = new Set(['signature_delta', 'citations_delta']);

/** When a piece of a stream came: milliseconds since 1970. */
interface Arrived {
  piece: Uint8Array;
  at: number;
}

export interface UsageReaderOptions {
  /** When the request was sent; milliseconds since 1970. Default: now. */
  sentAt?: number;
  /** Whether blocks matter although the answer is whole: one may tell that another model has stepped in. */
  readsBlocks?: boolean;
}

/**
 * Reads what a stream of the Messages API costs from a copy of its bytes, split anywhere.
 *
 * Deltas are measured; what else matters is in a few events, and only those are parsed.
 */
export class UsageReader {
  readonly #lines = new LineReader((bytes, start, end) => this.#line(bytes, start, end));
  readonly #report: Report = {
    model: undefined,
    usage: undefined,
    stop_reason: null,
    bytes: 0,
    completed: false,
    error_type: undefined,
  };
  readonly #readsBlocks: boolean;
  readonly #clock: UnseenClock;
  /** When what is read now has come. */
  #at: number;
  #said = 0;
  #thinking = 0;
  #results = 0;
  #searches = 0;
  #advised = 0;
  #advisedTokens = 0;
  #opaqueUses = 0;
  #laterPrompts: Carried[] = [];
  #handedOver: Carried | undefined;
  /** Behind a use, or a result, of a tool of the API's own the next block is a new step. */
  #isStepOver = false;
  #final = false;
  /** Pieces of which no line has been read yet: most streams end well before they must be. */
  #unread: Arrived[] = [];
  #read = false;
  #isWhole = false;
  #atBoundary = true;
  #isDelta = false;
  #event = '';
  #data: string | undefined;

  constructor({ sentAt = Date.now(), readsBlocks = false }: UsageReaderOptions = {}) {
    this.#readsBlocks = readsBlocks;
    this.#clock = new UnseenClock(sentAt);
    this.#at = sentAt;
  }

  /**
   * Takes the next piece; its buffer may be used again afterwards.
   *
   * @param isAll whether it is the whole stream: then it need not be kept, as a rule
   * @param at when it came; milliseconds since 1970
   */
  push(piece: Uint8Array, isAll = false, at = Date.now()): void {
    this.#report.bytes += piece.length;
    if (this.#read) {
      this.#readPiece(piece, at);
      return;
    }
    if (isAll && this.#unread.length === 0 && this.#readEnds(piece, piece)) {
      this.#isWhole = true;
      return;
    }
    this.#unread.push({ piece: piece.slice(), at });
    if (this.#report.bytes > UNREAD_BYTES) this.#readAll();
  }

  /** Tells the reader that an event which lacked only its end has been completed. */
  complete(completion: string): void {
    this.#readAll();
    this.#lines.push(utf8(completion));
  }

  /**
   * Reads a stream that ended as the API ends it by its first and its last events alone: what lies between is most of
   * the bytes, and tells nothing once the answer is whole.
   *
   * @returns undefined where every line must be read: a long, broken or unusual stream
   */
  get wholeReport(): Readonly<Report> | undefined {
    const first = this.#unread[0]?.piece;
    if (!this.#isWhole && !this.#read && first) {
      this.#isWhole = this.#readEnds(first, lastBytes(this.#unread, TAIL_BYTES));
    }
    return this.#isWhole ? this.#report : undefined;
  }

  /** @returns whether the first and the last bytes are those of a stream that ended as the API ends it. */
  #readEnds(first: Uint8Array, tail: Uint8Array): boolean {
    if (this.#readsBlocks) return false;
    const startEnd = first.indexOf(LINE_FEED, MESSAGE_START.length);
    if (!startsWith(first, 0, first.length, MESSAGE_START) || first[startEnd + 1] !== LINE_FEED) return false;
    const deltaEnd = tail.length - MESSAGE_STOP.length;
    if (deltaEnd < 1 || !startsWith(tail, deltaEnd, tail.length, MESSAGE_STOP)) return false;
    const dataStart = tail.lastIndexOf(LINE_FEED, deltaEnd - 2) + 1;
    const deltaStart = dataStart - MESSAGE_DELTA.length;
    if (deltaStart < 1 || !startsWith(tail, deltaStart, deltaEnd, MESSAGE_DELTA)) return false;
    // Before it a block has ended: what only an earlier `message_delta` says would be lost.
    const before = tail.lastIndexOf(LINE_FEED, deltaStart - 2) + 1;
    if (before < 1 || !startsWith(tail, before, deltaStart, BLOCK_STOP)) return false;
    this.#event = 'message_start';
    this.#data = decoder.decode(first.subarray(MESSAGE_START.length, startEnd));
    this.#dispatch();
    this.#event = 'message_delta';
    this.#data = decoder.decode(tail.subarray(dataStart + DATA.length, deltaEnd - 1));
    this.#dispatch();
    // What the end does not tell is to be found between the two.
    if (!this.#final) return false;
    this.#report.completed = true;
    return true;
  }

  /** Everything that the stream tells until now. */
  get report(): Readonly<Report> {
    return this.reportAt(Date.now());
  }

  /** @returns everything that the stream tells, its deltas measured, if it was broken off then. */
  reportAt(at: number): Readonly<Report> {
    this.#readAll();
    const rest = this.#isStepOver;
    // An event that was cut in its middle was written all the same.
    const unfinished = this.#isDelta ? mostTokens(this.#lines.rest) : 0;
    this.#report.seen = {
      said: Math.ceil(this.#said + unfinished),
      thinking: Math.ceil(this.#thinking),
      unseen_ms: this.#clock.until(at),
      silent_ms: this.#clock.silence(at),
      searches: this.#searches,
      advised: this.#advised,
      advised_tokens: Math.ceil(this.#advisedTokens),
      opaque_uses: this.#opaqueUses,
      later_prompts: rest ? [...this.#laterPrompts, this.#carriedAt(at)] : [...this.#laterPrompts],
      handed_over: this.#handedOver,
      final: this.#final,
    };
    return this.#report;
  }

  /** What has come since the first prompt, in tokens. */
  get #come(): number {
    return this.#said + this.#thinking + this.#results;
  }

  #carriedAt(at: number): Carried {
    return { tokens: Math.ceil(this.#come), unseen_ms: this.#clock.until(at) };
  }

  /** @returns whether the API itself ended the stream, well or with an `error` event. */
  get ended(): boolean {
    this.#readAll();
    return this.#report.completed || this.#report.error_type !== undefined;
  }

  #readAll(): void {
    if (this.#read || this.#isWhole) return;
    this.#read = true;
    for (const { piece, at } of this.#unread) this.#readPiece(piece, at);
    this.#unread = [];
  }

  #readPiece(piece: Uint8Array, at: number): void {
    this.#at = at;
    this.#lines.push(piece);
  }

  /** @returns where the stream stands: what an ending has to reckon with. */
  get end(): StreamEnd {
    this.#readAll();
    const rest = this.#lines.rest;
    return {
      atBoundary: this.#atBoundary && rest.length === 0,
      unfinishedLine: decoder.decode(rest),
      data: this.#data,
    };
  }

  #line(bytes: Uint8Array, start: number, end: number): void {
    if (start === end) {
      this.#dispatch();
      return;
    }
    this.#atBoundary = false;
    if (startsWith(bytes, start, end, DATA)) {
      const from = skipSpace(bytes, start + DATA.length);
      if (this.#isDelta && this.#data === undefined && this.#countDelta(bytes, from, end)) this.#data = COUNTED;
      else {
        const value = decoder.decode(bytes.subarray(from, end));
        this.#data = this.#data === undefined ? value : `${this.#data}\n${value}`;
      }
    } else if (startsWith(bytes, start, end, EVENT)) {
      const from = skipSpace(bytes, start + EVENT.length);
      this.#isDelta = end - from === DELTA.length && startsWith(bytes, from, end, DELTA);
      this.#event = this.#isDelta ? DELTA_NAME : decoder.decode(bytes.subarray(from, end));
    }
  }

  #dispatch(): void {
    const event = this.#event;
    const data = this.#data;
    this.#atBoundary = true;
    this.#isDelta = false;
    this.#event = '';
    this.#data = undefined;
    if (event === '' || data === undefined) return;
    if (event === DELTA_NAME) {
      // Data of several lines, or before the event's name: never the API's own, but the format allows it.
      this.#clock.touch(this.#at);
      if (data !== COUNTED) this.#countDelta(utf8(data), 0);
    } else if (event === 'message_stop') this.#report.completed = true;
    else if (event === 'content_block_start') this.#startBlock(field(parse(data), 'content_block'));
    else if (event === 'content_block_stop') this.#clock.stop(this.#at);
    else if (event === 'error') this.#report.error_type = errorType(parse(data));
    else if (event === 'message_start') {
      const message = field(parse(data), 'message');
      this.#report.model = string(field(message, 'model'));
      this.#merge(field(message, 'usage'));
    } else if (event === 'message_delta') {
      const value = parse(data);
      const stopReason = string(field(field(value, 'delta'), 'stop_reason'));
      this.#report.stop_reason = stopReason ?? this.#report.stop_reason;
      this.#merge(field(value, 'usage'));
      this.#final ||= stopReason !== undefined && isCount(field(field(value, 'usage'), 'output_tokens'));
    }
  }

  #startBlock(block: unknown): void {
    const type = string(field(block, 'type')) ?? '';
    const isResult = type.endsWith('_tool_result');
    if (this.#isStepOver && !isResult) {
      this.#laterPrompts.push(this.#carriedAt(this.#at));
      this.#isStepOver = false;
    }
    const name = string(field(block, 'name')) ?? '';
    this.#clock.start(type === 'server_tool_use' && name === 'advisor' ? ADVISOR : type, this.#at);
    if (isResult) {
      this.#results += mostTokensOf(JSON.stringify(field(block, 'content') ?? ''));
      this.#isStepOver = true;
    } else if (type === 'fallback') {
      this.#handedOver = this.#carriedAt(this.#at);
      this.#report.fallbacks = [...(this.#report.fallbacks ?? []), ...(fallbacksIn([block]) ?? [])];
    } else if (type.endsWith('tool_use')) {
      const input = field(block, 'input');
      this.#said += PER_CALL + mostTokensOf(name);
      if (Object.keys(input ?? {}).length > 0) this.#said += mostTokensOf(JSON.stringify(input));
      if (type === 'tool_use') return;
      this.#isStepOver = true;
      if (type !== 'server_tool_use') this.#opaqueUses += 1;
      else if (name === 'web_search') this.#searches += 1;
      else if (name === 'advisor') {
        this.#advised += 1;
        this.#advisedTokens += this.#come;
      } else if (!COUNTED_TOOLS.has(name)) this.#opaqueUses += 1;
    } else if (type === 'text' || type === 'thinking') {
      const tokens = PER_BLOCK + mostTokensOf(string(field(block, type)) ?? '');
      if (type === 'text') this.#said += tokens;
      else this.#thinking += tokens;
    } else if (!isThinking(type)) {
      // Of a kind that nobody knows here: it comes whole, or by deltas.
      this.#said += mostTokensOf(JSON.stringify(block ?? ''));
    }
  }

  /** Later values win where they say something: `message_delta` is cumulative, but lacks the cache split, speed and geography. */
  #merge(usage: unknown): void {
    const checked = checkedUsage(usage);
    if (!checked) return;
    const told = Object.entries(checked).filter(([, value]) => value !== null);
    this.#report.usage = { ...this.#report.usage, ...Object.fromEntries(told) };
  }

  /** @returns false for what is no whole JSON. */
  #countDelta(bytes: Uint8Array, start: number, end = bytes.length): boolean {
    if (this.#countPlainDelta(bytes, start, end)) return true;
    const event = parse(decoder.decode(bytes.subarray(start, end)));
    if (event === undefined) return false;
    const delta = field(event, 'delta');
    if (typeof delta !== 'object' || delta === null) return true;
    const type = string(field(delta, 'type')) ?? '';
    if (NOT_OUTPUT.has(type)) return true;
    const strings = Object.entries(delta).filter(([key, value]) => key !== 'type' && typeof value === 'string');
    const tokens = strings.reduce((sum, [, value]) => sum + mostTokensOf(String(value)), 0);
    if (type === 'thinking_delta') this.#thinking += tokens;
    else this.#said += tokens;
    return true;
  }

  /**
   * Measures a delta as the API writes it, one string without escapes, without decoding it.
   *
   * @returns false for any other form
   */
  #countPlainDelta(bytes: Uint8Array, start: number, end: number): boolean {
    if (!startsWith(bytes, start, end, DELTA_HEAD)) return false;
    let at = start + DELTA_HEAD.length;
    while (isDigit(bytes[at])) at += 1;
    if (!startsWith(bytes, at, end, DELTA_TYPE)) return false;
    const type = at + DELTA_TYPE.length;
    const typeEnd = bytes.indexOf(QUOTE, type);
    const key = bytes.indexOf(QUOTE, typeEnd + 1);
    const keyEnd = bytes.indexOf(QUOTE, key + 1);
    const open = bytes.indexOf(QUOTE, keyEnd + 1);
    const close = bytes.indexOf(QUOTE, open + 1);
    // `"}}` ends the line: one string, and no more fields. A string with a backslash may hold escaped quotes.
    if (close !== end - 3 || open !== keyEnd + 2 || key !== typeEnd + 2) return false;
    if (bytes.subarray(open + 1, close).includes(BACKSLASH)) return false;
    if (startsWith(bytes, type, typeEnd, SIGNATURE)) return true;
    const tokens = mostTokens(bytes, open + 1, close);
    if (startsWith(bytes, type, typeEnd, THINKING)) this.#thinking += tokens;
    else this.#said += tokens;
    return true;
  }
}

/** @returns what a whole answer, parsed, tells about itself; undefined is one that was not whole. */
export function reportOf(message: object | undefined, bytes: number): Report {
  const isMessage = field(message, 'type') === 'message';
  const usage = field(message, 'usage');
  return {
    model: string(field(message, 'model')),
    usage: checkedUsage(usage),
    stop_reason: string(field(message, 'stop_reason')) ?? null,
    bytes,
    fallbacks: fallbacksIn(field(message, 'content')),
    completed: isMessage,
    error_type: field(message, 'type') === 'error' ? errorType(message) : undefined,
  };
}

/** Members of a usage that have members of their own. */
const OBJECTS: ReadonlySet<string> = new Set(['cache_creation', 'server_tool_use', 'output_tokens_details']);

/** @returns that nothing was seen of an answer for so long. */
export function nothingSeen(unseen_ms: number): Seen {
  return {
    said: 0,
    thinking: 0,
    unseen_ms,
    silent_ms: 0,
    searches: 0,
    advised: 0,
    advised_tokens: 0,
    opaque_uses: 0,
    later_prompts: [],
    final: false,
  };
}

/** @returns what a usage says, without what can be no count: money hangs on it. */
export function checkedUsage(usage: unknown): Usage | undefined {
  if (typeof usage !== 'object' || usage === null) return undefined;
  const told = Object.entries(usage).filter(([kind, value]) => {
    if (value === null) return true;
    if (OBJECTS.has(kind)) return typeof value === 'object' && !Array.isArray(value);
    if (kind === 'iterations') return Array.isArray(value);
    return !kind.endsWith('_tokens') || isCount(value);
  });
  const checked: Record<string, unknown> = Object.fromEntries(told);
  if (Array.isArray(checked.iterations)) {
    checked.iterations = checked.iterations.filter((step) => typeof field(step, 'type') === 'string');
  }
  return checked;
}

/** @returns the models that had a part in an answer, where blocks tell that one stepped in for another. */
export function fallbacksIn(content: unknown): string[] | undefined {
  if (!Array.isArray(content)) return undefined;
  const hops = content.filter((block) => field(block, 'type') === 'fallback');
  const models = hops.flatMap((hop) =>
    ['from', 'to'].flatMap((side) => string(field(field(hop, side), 'model')) ?? []),
  );
  return models.length > 0 ? models : undefined;
}

function errorType(body: unknown): string {
  return string(field(field(body, 'error'), 'type')) ?? 'api_error';
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not ours to judge: it is relayed as it came, and what cannot be read tells nothing.
    return undefined;
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

function string(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

/** @returns the last bytes of several pieces; fewer, if they are not in the last two. */
function lastBytes(pieces: readonly Arrived[], length: number): Uint8Array {
  const last = pieces.at(-1)?.piece ?? new Uint8Array(0);
  const before = pieces.at(-2)?.piece;
  if (last.length >= length || !before) return last.subarray(Math.max(0, last.length - length));
  const joined = new Uint8Array(Math.min(length, before.length + last.length));
  joined.set(before.subarray(Math.max(0, before.length + last.length - length)));
  joined.set(last, joined.length - last.length);
  return joined;
}

function startsWith(bytes: Uint8Array, start: number, end: number, prefix: Uint8Array): boolean {
  if (end - start < prefix.length) return false;
  for (let i = 0; i < prefix.length; i += 1) if (bytes[start + i] !== prefix[i]) return false;
  return true;
}

function skipSpace(bytes: Uint8Array, at: number): number {
  return bytes[at] === SPACE ? at + 1 : at;
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 48 && byte <= 57;
}
