import type { StreamEnd } from '../sse/endings.ts';
import { LineReader } from '../sse/lines.ts';
import type { Usage } from './cost.ts';

/** What an answer told about itself: what a ledger row and the log need. */
export interface Report {
  model: string | undefined;
  usage: Usage | undefined;
  stop_reason: string | null;
  /** Bytes of the whole body. */
  bytes: number;
  /** UTF-8 bytes of what the deltas said (text, JSON, shown thinking): a cut answer is estimated by them; `wholeReport` leaves it 0. */
  delta_bytes: number;
  /** Whether any delta or thinking block told of thinking. */
  thinking: boolean;
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
const SIGNATURE = utf8('signature_delta');
/** Stands for the data of a delta, whose text is not kept: only that it is whole matters to an ending. */
const COUNTED = '{}';
const SPACE = 32;
const QUOTE = 34;
const BACKSLASH = 92;

/** Deltas that are not said by the model: a signature, and the citations of a source that the prompt paid for. */
const NOT_OUTPUT: ReadonlySet<string> = new Set(['signature_delta', 'citations_delta']);

/**
 * Reads what a stream of the Messages API costs from a copy of its bytes, split anywhere.
 *
 * Of deltas it counts bytes; what else matters is in a few events, and only those are parsed.
 */
export class UsageReader {
  readonly #lines = new LineReader((bytes, start, end) => this.#line(bytes, start, end));
  readonly #report: Report = {
    model: undefined,
    usage: undefined,
    stop_reason: null,
    bytes: 0,
    delta_bytes: 0,
    thinking: false,
    completed: false,
    error_type: undefined,
  };
  /** Pieces of which no line has been read yet: most streams end well before they must be. */
  #unread: Uint8Array[] = [];
  #read = false;
  #isWhole = false;
  #atBoundary = true;
  #isDelta = false;
  #event = '';
  #data: string | undefined;

  /**
   * Takes the next piece; its buffer may be used again afterwards.
   *
   * @param isAll whether it is the whole stream: then it need not be kept, as a rule
   */
  push(piece: Uint8Array, isAll = false): void {
    this.#report.bytes += piece.length;
    if (this.#read) {
      this.#lines.push(piece);
      return;
    }
    if (isAll && this.#unread.length === 0 && this.#readEnds(piece, piece)) {
      this.#isWhole = true;
      return;
    }
    this.#unread.push(piece.slice());
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
    const first = this.#unread[0];
    if (!this.#isWhole && !this.#read && first) {
      this.#isWhole = this.#readEnds(first, lastBytes(this.#unread, TAIL_BYTES));
    }
    return this.#isWhole ? this.#report : undefined;
  }

  /** @returns whether the first and the last bytes are those of a stream that ended as the API ends it. */
  #readEnds(first: Uint8Array, tail: Uint8Array): boolean {
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
    this.#report.completed = true;
    return true;
  }

  /** Everything that the stream tells, its deltas measured. */
  get report(): Readonly<Report> {
    this.#readAll();
    return this.#report;
  }

  /** @returns whether the API itself ended the stream, well or with an `error` event. */
  get ended(): boolean {
    this.#readAll();
    return this.#report.completed || this.#report.error_type !== undefined;
  }

  #readAll(): void {
    if (this.#read || this.#isWhole) return;
    this.#read = true;
    for (const piece of this.#unread) this.#lines.push(piece);
    this.#unread = [];
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
      const counted = this.#isDelta && this.#data === undefined ? this.#countDelta(bytes, from, end) : undefined;
      if (counted !== undefined) {
        this.#report.delta_bytes += counted;
        this.#data = COUNTED;
      } else {
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
      if (data !== COUNTED) this.#report.delta_bytes += this.#countDelta(utf8(data), 0) ?? 0;
    } else if (event === 'message_stop') this.#report.completed = true;
    else if (event === 'content_block_start') {
      // Thinking that is not shown has no deltas, and redacted thinking comes whole: only the block's start tells.
      this.#report.thinking ||= isThinking(field(parse(data), 'content_block'));
    } else if (event === 'error') this.#report.error_type = errorType(parse(data));
    else if (event === 'message_start') {
      const message = field(parse(data), 'message');
      this.#report.model = string(field(message, 'model'));
      this.#merge(field(message, 'usage'));
    } else if (event === 'message_delta') {
      const value = parse(data);
      this.#report.stop_reason = string(field(field(value, 'delta'), 'stop_reason')) ?? this.#report.stop_reason;
      this.#merge(field(value, 'usage'));
    }
  }

  /** Later values win where they say something: `message_delta` is cumulative, but lacks the cache split, speed and geography. */
  #merge(usage: unknown): void {
    if (typeof usage !== 'object' || usage === null) return;
    const merged: Record<string, unknown> = { ...this.#report.usage };
    for (const [kind, value] of Object.entries(usage)) if (value !== null) merged[kind] = value;
    this.#report.usage = merged;
  }

  /** @returns undefined for what is no whole JSON. */
  #countDelta(bytes: Uint8Array, start: number, end = bytes.length): number | undefined {
    const quick = this.#countPlainDelta(bytes, start, end);
    if (quick !== undefined) return quick;
    const event = parse(decoder.decode(bytes.subarray(start, end)));
    if (event === undefined) return undefined;
    const delta = field(event, 'delta');
    if (typeof delta !== 'object' || delta === null) return 0;
    const type = string(field(delta, 'type')) ?? '';
    if (type === 'thinking_delta') this.#report.thinking = true;
    if (NOT_OUTPUT.has(type)) return 0;
    const strings = Object.entries(delta).filter(([key, value]) => key !== 'type' && typeof value === 'string');
    return strings.reduce((sum, [, value]) => sum + encoder.encode(String(value)).length, 0);
  }

  /**
   * The delta as the API writes it, one string without escapes, is measured without being decoded.
   *
   * @returns undefined for any other form
   */
  #countPlainDelta(bytes: Uint8Array, start: number, end: number): number | undefined {
    if (!startsWith(bytes, start, end, DELTA_HEAD)) return undefined;
    let at = start + DELTA_HEAD.length;
    while (isDigit(bytes[at])) at += 1;
    if (!startsWith(bytes, at, end, DELTA_TYPE)) return undefined;
    const type = at + DELTA_TYPE.length;
    const typeEnd = bytes.indexOf(QUOTE, type);
    const key = bytes.indexOf(QUOTE, typeEnd + 1);
    const keyEnd = bytes.indexOf(QUOTE, key + 1);
    const open = bytes.indexOf(QUOTE, keyEnd + 1);
    const close = bytes.indexOf(QUOTE, open + 1);
    // `"}}` ends the line: one string, and no more fields. A string with a backslash may hold escaped quotes.
    if (close !== end - 3 || open !== keyEnd + 2 || key !== typeEnd + 2) return undefined;
    if (bytes.subarray(open + 1, close).includes(BACKSLASH)) return undefined;
    if (startsWith(bytes, type, typeEnd, SIGNATURE)) return 0;
    if (startsWith(bytes, type, typeEnd, THINKING)) this.#report.thinking = true;
    return close - open - 1;
  }
}

/** @returns what a whole answer, parsed, tells about itself; undefined is one that was not whole. */
export function reportOf(message: object | undefined, bytes: number): Report {
  const isMessage = field(message, 'type') === 'message';
  const usage = field(message, 'usage');
  const content = field(message, 'content');
  return {
    model: string(field(message, 'model')),
    usage: typeof usage === 'object' && usage !== null ? usage : undefined,
    stop_reason: string(field(message, 'stop_reason')) ?? null,
    bytes,
    delta_bytes: 0,
    thinking: Array.isArray(content) && content.some(isThinking),
    completed: isMessage,
    error_type: field(message, 'type') === 'error' ? errorType(message) : undefined,
  };
}

function isThinking(block: unknown): boolean {
  return string(field(block, 'type'))?.endsWith('thinking') === true;
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
function lastBytes(pieces: readonly Uint8Array[], length: number): Uint8Array {
  const last = pieces.at(-1) ?? new Uint8Array(0);
  const before = pieces.at(-2);
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
