import { joinPieces } from '../../kit/http/body-pieces.ts';
import { decoder, utf8 } from '../../kit/http/bytes.ts';
import { LINE_FEED } from '../../kit/json/characters.ts';
import { memberOf, stringOrUndefined } from '../../kit/json/object.ts';
import { parseOrUndefined } from '../../kit/json/parse.ts';
import { skipOneSpace, startsWith } from '../../kit/sse/bytes.ts';
import type { StreamEnd } from '../../kit/sse/endings.ts';
import { LineReader, MAX_LINE_BYTES } from '../../kit/sse/lines.ts';
import { CreatedIds } from './created-ids.ts';
import { ObservedOutput } from './observed-output.ts';
import { hasFinalUsage, ReportedUsage } from './reported-usage.ts';
import { isErrorOnly, parseErrorType, type ResponseReport } from './usage-report.ts';

const EVENT = utf8('event:');
const DATA = utf8('data:');
const DELTA_NAME = 'content_block_delta';
const DELTA_BYTES = utf8(DELTA_NAME);
/** The events at the two ends of a stream, as the API writes them. */
const MESSAGE_START = utf8('event: message_start\ndata: ');
const BLOCK_STOP = utf8('data: {"type":"content_block_stop"');
const MESSAGE_DELTA = utf8('\nevent: message_delta\n');
const DELTA_EVENT = 'event: message_delta';
/** How a delta of a text or an input begins, up to its string, as the API writes it. */
const WRITTEN_DELTA =
  /event: content_block_delta\ndata: \{"type":"content_block_delta","index":\d+,"delta":\{"type":"(?:text_delta","text|input_json_delta","partial_json)":"/g;
const WRITTEN_END = '"}}';
const MESSAGE_STOP = utf8('\nevent: message_stop\ndata: {"type":"message_stop"}\n\n');
/** The bytes after which a stream is read line by line as it comes, so that it need not stay in memory. */
const UNREAD_BYTES = 262_144;
/** The last events are searched for within this many bytes. */
const TAIL_BYTES = 4_096;
/** Replaces the data of a measured delta. Its text is not kept: later it matters only that it is complete JSON. */
const MEASURED_DELTA_DATA = '{}';

/** A piece of a stream, with the earliest and the latest time at which it may have come; milliseconds since 1970. */
interface TimedPiece {
  piece: Uint8Array;
  at: number;
  since: number;
}

/** What a reader must know about the request. */
export interface UsageReaderOptions {
  /** When the request was sent; milliseconds since 1970. Default: now. */
  sentAt?: number;
  /** Whether blocks are read even if the answer is complete, because a block may say that another model has taken over. */
  readsBlocks?: boolean;
  /** Whether the ids of what the answer makes are collected. */
  readsIds?: boolean;
}

/**
 * Reads the usage of an answer from a copy of its stream. The pieces may be split anywhere.
 *
 * Deltas are only measured. Everything else that matters is in a few events, and only those are parsed.
 */
export class UsageReader {
  /** The data of an error without a name, which clients leave out. */
  namelessError: string | undefined;
  /** Made when lines must be read. For most answers, only the beginning and the end are read. */
  #reader: LineReader | undefined;
  readonly #report: ResponseReport = {
    model: undefined,
    usage: undefined,
    stop_reason: null,
    bytes: 0,
    completed: false,
    error_type: undefined,
  };
  readonly #shouldReadBlocks: boolean;
  readonly #observed: ObservedOutput;
  readonly #createdIds: CreatedIds | undefined;
  /** The latest and the earliest time at which the current piece may have come. */
  #at: number;
  #since: number;
  readonly #reportedUsage = new ReportedUsage();
  /** Pieces of which no line has been read yet. Most streams end before that is necessary. */
  #unreadPieces: TimedPiece[] = [];
  #isReadingLines = false;
  #isWhole = false;
  #isAtBoundary = true;
  #isDelta = false;
  #event = '';
  #data: string | undefined;
  #lastOutputAt: number | undefined;

  constructor({ sentAt = Date.now(), readsBlocks = false, readsIds = false }: UsageReaderOptions = {}) {
    this.#shouldReadBlocks = readsBlocks || readsIds;
    this.#createdIds = readsIds ? new CreatedIds() : undefined;
    this.#observed = new ObservedOutput(sentAt);
    this.#at = sentAt;
    this.#since = sentAt;
  }

  /**
   * Takes the next piece. Its buffer may be reused afterwards.
   *
   * @param isAll whether the piece is the whole stream. Then it usually need not be copied
   * @param at when it came, or was read; milliseconds since 1970
   * @param since the earliest time at which it may have come, if it was read late. Default: the same
   */
  push(piece: Uint8Array, isAll = false, at = Date.now(), since = at): void {
    this.#report.bytes += piece.length;
    if (this.#isReadingLines) {
      this.#readPiece({ piece, at, since });
      return;
    }
    if (isAll && this.#unreadPieces.length === 0 && this.#readEnds([piece])) {
      this.#isWhole = true;
      return;
    }
    this.#unreadPieces.push({ piece: piece.slice(), at, since });
    if (this.#report.bytes > UNREAD_BYTES) this.#readAll();
  }

  get #lines(): LineReader {
    this.#reader ??= new LineReader((bytes, start, end) => this.#line(bytes, start, end));
    return this.#reader;
  }

  /** Tells the reader that an event that lacked only its end has been completed. */
  completeEvent(completion: string): void {
    this.#readAll();
    this.#lines.push(utf8(completion));
  }

  /**
   * Reads a complete stream by its first and its last events only. The events between are most of the bytes, but say nothing
   * new once the answer is complete.
   *
   * @returns undefined if every line must be read, as in a long, broken or unusual stream
   */
  get wholeReport(): Readonly<ResponseReport> | undefined {
    if (!this.#isWhole && !this.#isReadingLines)
      this.#isWhole = this.#readEnds(this.#unreadPieces.map(({ piece }) => piece));
    return this.#isWhole ? this.#report : undefined;
  }

  /** @returns whether the first and the last bytes are those of a stream that ended as the API ends it. */
  #readEnds(pieces: readonly Uint8Array[]): boolean {
    const [first] = pieces;
    if (this.#shouldReadBlocks || !first) return false;
    const tail = lastBytesOf(pieces, TAIL_BYTES);
    const startEnd = first.indexOf(LINE_FEED, MESSAGE_START.length);
    if (!startsWith(first, 0, first.length, MESSAGE_START) || first[startEnd + 1] !== LINE_FEED) return false;
    const deltaEnd = tail.length - MESSAGE_STOP.length;
    if (deltaEnd < 1 || !startsWith(tail, deltaEnd, tail.length, MESSAGE_STOP)) return false;
    const dataStart = tail.lastIndexOf(LINE_FEED, deltaEnd - 2) + 1;
    const deltaStart = dataStart - MESSAGE_DELTA.length;
    if (deltaStart < 1 || !startsWith(tail, deltaStart, deltaEnd, MESSAGE_DELTA)) return false;
    // A block must end right before: otherwise an earlier `message_delta` could say something that the last one does not.
    const before = tail.lastIndexOf(LINE_FEED, deltaStart - 2) + 1;
    if (before < 1 || !startsWith(tail, before, deltaStart, BLOCK_STOP)) return false;
    // A gateway may report usage several times.
    const text = decoder.decode(joinPieces(pieces));
    if (text.indexOf(DELTA_EVENT) !== text.lastIndexOf(DELTA_EVENT)) return false;
    this.#event = 'message_start';
    this.#data = decoder.decode(first.subarray(MESSAGE_START.length, startEnd));
    this.#dispatch();
    this.#reportedUsage.hasBlocks = true;
    this.#event = 'message_delta';
    this.#data = decoder.decode(tail.subarray(dataStart + DATA.length, deltaEnd - 1));
    this.#dispatch();
    // If the ends do not tell all of the usage, or what cannot be, the lines between must be read.
    this.#report.completed =
      this.#reportedUsage.hasPlausibleOutput(countCharacters(text)) &&
      hasFinalUsage({ ...this.#report, completed: true });
    return this.#report.completed;
  }

  /** When an event other than a ping has come last, in milliseconds since 1970; undefined before `message_start`. */
  get lastOutputAt(): number | undefined {
    this.#readAll();
    return this.#report.usage && this.#lastOutputAt;
  }

  /** Everything that the stream has reported until now. */
  get report(): Readonly<ResponseReport> {
    return this.reportAt(Date.now());
  }

  /** @returns everything that the stream has reported, with its deltas measured, as if it was interrupted at that time. */
  reportAt(at: number): Readonly<ResponseReport> {
    this.#readAll();
    this.#report.seen = this.#observed.createSeen(at, this.#unfinishedEvent, this.#hasEnd);
    const { fallbacks } = this.#observed;
    if (fallbacks) this.#report.fallbacks = fallbacks;
    const { results } = this.#observed;
    if (results) this.#report.results = results;
    if (this.#createdIds) this.#report.made = this.#createdIds.all;
    return this.#report;
  }

  /** The bytes of a delta, or of the beginning of a block, whose rest has not come. */
  get #unfinishedEvent(): { isDelta: boolean; bytes: Uint8Array } | undefined {
    if (this.#isDelta) return { isDelta: true, bytes: this.#lines.pending };
    if (this.#event !== 'content_block_start') return undefined;
    return { isDelta: false, bytes: this.#data === undefined ? this.#lines.pending : utf8(this.#data) };
  }

  /** Whether the API itself has ended the stream, with `message_stop` or an `error` event. */
  get hasEnded(): boolean {
    this.#readAll();
    return this.#report.completed || this.#report.error_type !== undefined;
  }

  #readAll(): void {
    if (this.#isReadingLines || this.#isWhole) return;
    this.#isReadingLines = true;
    for (const arrived of this.#unreadPieces) this.#readPiece(arrived);
    this.#unreadPieces = [];
  }

  #readPiece({ piece, at, since }: TimedPiece): void {
    this.#at = at;
    this.#since = since;
    this.#lines.push(piece);
  }

  /** Where in the event format the stream is now. What can be written after it depends on that. */
  get end(): StreamEnd {
    this.#readAll();
    const rest = this.#lines.pending;
    return {
      isAtBoundary: this.#isAtBoundary && rest.length === 0,
      unfinishedLine: decoder.decode(rest),
      data: this.#data,
    };
  }

  #line(bytes: Uint8Array, start: number, end: number): void {
    if (start === end) {
      this.#dispatch();
      return;
    }
    this.#isAtBoundary = false;
    if (startsWith(bytes, start, end, DATA)) {
      const from = skipOneSpace(bytes, start + DATA.length);
      if (this.#isDelta && this.#data === undefined && this.#observed.countDelta(bytes, from, end))
        this.#data = MEASURED_DELTA_DATA;
      else {
        const value = decoder.decode(bytes.subarray(from, end));
        if (this.#data === undefined) this.#data = value;
        // What is longer is no event that must be read.
        else if (this.#data.length <= MAX_LINE_BYTES) this.#data += `\n${value}`;
      }
    } else if (startsWith(bytes, start, end, EVENT)) {
      const from = skipOneSpace(bytes, start + EVENT.length);
      this.#isDelta = end - from === DELTA_BYTES.length && startsWith(bytes, from, end, DELTA_BYTES);
      this.#event = this.#isDelta ? DELTA_NAME : decoder.decode(bytes.subarray(from, end));
    }
  }

  #dispatch(): void {
    const data = this.#data;
    // The API names each event. Behind some gateways only its data says what it is.
    const event = this.#event || (data === undefined ? '' : typeOfData(data));
    if (event === 'error' && this.#event === '') this.namelessError = data;
    this.#isAtBoundary = true;
    this.#isDelta = false;
    this.#event = '';
    this.#data = undefined;
    if (event === '' || data === undefined) return;
    if (event !== 'ping') this.#lastOutputAt = this.#at;
    if (event === DELTA_NAME) {
      // Data in several lines, or before the event's name. The API does not write this, but the format allows it.
      this.#observed.touch(this.#since);
      if (data !== MEASURED_DELTA_DATA) this.#observed.countDelta(utf8(data), 0);
    } else if (event === 'message_stop') this.#report.completed = true;
    else if (event === 'content_block_start') {
      const value = parseOrUndefined(data);
      this.#createdIds?.collect(value);
      const block = memberOf(value, 'content_block');
      if (memberOf(block, 'type') === 'fallback') this.#reportedUsage.startNextModel();
      else this.#reportedUsage.hasBlocks = true;
      this.#observed.startBlock(block, this.#at, this.#since);
    } else if (event === 'content_block_stop') this.#observed.stopBlock(this.#at, this.#since);
    else if (event === 'ping') this.#observed.ping(this.#since);
    else if (event === 'error') this.#report.error_type = parseErrorType(parseOrUndefined(data));
    else if (event === 'message_start') {
      const value = parseOrUndefined(data);
      this.#createdIds?.collect(value);
      const message = memberOf(value, 'message');
      this.#report.model = stringOrUndefined(memberOf(message, 'model'));
      if (this.#report.completed) {
        this.#reportedUsage.beginNext();
        this.#report.completed = false;
      }
      // Without a usage it has begun all the same.
      this.#report.usage = this.#reportedUsage.add(memberOf(message, 'usage') ?? {});
    } else if (event === 'message_delta') {
      const value = parseOrUndefined(data);
      this.#createdIds?.collect(value);
      const delta = memberOf(value, 'delta');
      this.#report.stop_reason = stringOrUndefined(memberOf(delta, 'stop_reason')) ?? this.#report.stop_reason;
      this.#report.usage = this.#reportedUsage.add(memberOf(value, 'usage'), true);
      if (this.#reportedUsage.isUnbilledEnd(delta)) this.#report.unbilled = true;
    }
  }

  /** Whether its end has come, and has told the output. */
  get #hasEnd(): boolean {
    const isTold = this.#reportedUsage.hasPlausibleOutput(this.#observed.characters);
    return isTold && (this.#report.completed || this.#report.stop_reason !== null);
  }
}

/** @returns what the data of an event says that it is, since those of some gateways have no name; empty if it says nothing */
export function typeOfData(data: string): string {
  const value = parseOrUndefined(data);
  return isErrorOnly(value) ? 'error' : (stringOrUndefined(memberOf(value, 'type')) ?? '');
}

/** @returns at least as many letters as the deltas of texts and inputs have, if they are as the API writes them */
function countCharacters(text: string): number {
  let letters = 0;
  for (const { index, 0: head } of text.matchAll(WRITTEN_DELTA)) {
    const from = index + head.length;
    letters += text.indexOf('\n', from) - from - WRITTEN_END.length;
  }
  return letters;
}

/** @returns the last bytes of several pieces. Only the last two pieces are used, so there may be fewer bytes. */
function lastBytesOf(pieces: readonly Uint8Array[], length: number): Uint8Array {
  const last = pieces.at(-1) ?? new Uint8Array(0);
  const before = pieces.at(-2);
  if (last.length >= length || !before) return last.subarray(Math.max(0, last.length - length));
  const joined = new Uint8Array(Math.min(length, before.length + last.length));
  joined.set(before.subarray(Math.max(0, before.length + last.length - length)));
  joined.set(last, joined.length - last.length);
  return joined;
}
