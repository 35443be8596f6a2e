import { joinPieces } from '../../kit/http/body-pieces.ts';
import { decoder, encodeUtf8 } from '../../kit/http/bytes.ts';
import { LINE_FEED } from '../../kit/json/characters.ts';
import { getMember, toStringOrUndefined } from '../../kit/json/object.ts';
import { parseJsonOrUndefined } from '../../kit/json/parse.ts';
import { rangeStartsWith, skipOneSpace } from '../../kit/sse/bytes.ts';
import type { StreamEndPosition } from '../../kit/sse/endings.ts';
import { splitJoinedData } from '../../kit/sse/frames.ts';
import { MAX_LINE_BYTES, StreamLineReader } from '../../kit/sse/lines.ts';
import { findStoredSentence } from './api-sentences.ts';
import { CreatedResourceIdCollector } from './created-ids.ts';
import { VisibleOutputMeter } from './observed-output.ts';
import { hasFinalUsage, ReportedUsage } from './reported-usage.ts';
import { isErrorBody, parseErrorType, type ResponseReport } from './usage-report.ts';

const EVENT = encodeUtf8('event:');
const DATA = encodeUtf8('data:');
const DELTA_NAME = 'content_block_delta';
const DELTA_BYTES = encodeUtf8(DELTA_NAME);
/** The events at the two ends of a stream, as the API writes them. */
const MESSAGE_START = encodeUtf8('event: message_start\ndata: ');
const BLOCK_STOP = encodeUtf8('data: {"type":"content_block_stop"');
const MESSAGE_DELTA = encodeUtf8('\nevent: message_delta\n');
const DELTA_EVENT = 'event: message_delta';
/** How a delta of a text or an input begins, up to its string, as the API writes it. */
const WRITTEN_DELTA =
  /event: content_block_delta\ndata: \{"type":"content_block_delta","index":\d+,"delta":\{"type":"(?:text_delta","text|input_json_delta","partial_json)":"/g;
const WRITTEN_END = '"}}';
const MESSAGE_STOP = encodeUtf8('\nevent: message_stop\ndata: {"type":"message_stop"}\n\n');
/** The bytes after which a stream is read line by line as it arrives, so that it need not stay in memory. */
const UNREAD_BYTES = 262_144;
/** The last events are searched for within this many bytes. */
const TAIL_BYTES = 4_096;
/** Replaces the data of a measured delta. Its text is not kept: later it matters only that it is complete JSON. */
const MEASURED_DELTA_DATA = '{}';

/** A piece of a stream, with the earliest and the latest time at which it may have arrived; milliseconds since 1970. */
interface TimedPiece {
  piece: Uint8Array;
  at: number;
  since: number;
}

/** The facts about the request that a reader needs. */
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
  #reader: StreamLineReader | undefined;
  readonly #report: ResponseReport = {
    model: undefined,
    usage: undefined,
    stop_reason: null,
    bytes: 0,
    completed: false,
    error_type: undefined,
  };
  readonly #shouldReadBlocks: boolean;
  readonly #observed: VisibleOutputMeter;
  readonly #createdIds: CreatedResourceIdCollector | undefined;
  /** The latest and the earliest time at which the current piece may have arrived. */
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
    this.#createdIds = readsIds ? new CreatedResourceIdCollector() : undefined;
    this.#observed = new VisibleOutputMeter(sentAt);
    this.#at = sentAt;
    this.#since = sentAt;
  }

  /**
   * Takes the next piece. Its buffer may be reused afterwards.
   *
   * @param isAll whether the piece is the whole stream. Then it usually need not be copied
   * @param at when it came, or was read; milliseconds since 1970
   * @param since the earliest time at which it may have arrived, if it was read late. Default: the same
   */
  addPiece(piece: Uint8Array, isAll = false, at = Date.now(), since = at): void {
    this.#report.bytes += piece.length;
    if (this.#isReadingLines) {
      this.#readPiece({ piece, at, since });
      return;
    }
    if (isAll && this.#unreadPieces.length === 0 && this.#readFirstAndLastEvents([piece])) {
      this.#isWhole = true;
      return;
    }
    this.#unreadPieces.push({ piece: piece.slice(), at, since });
    if (this.#report.bytes > UNREAD_BYTES) this.#readPendingPieces();
  }

  get #lineReader(): StreamLineReader {
    this.#reader ??= new StreamLineReader((bytes, start, end) => this.#handleLine(bytes, start, end));
    return this.#reader;
  }

  /** Reads the completion of an event that lacked only its end. */
  completeUnfinishedEvent(completion: string): void {
    this.#readPendingPieces();
    this.#lineReader.pushPiece(encodeUtf8(completion));
  }

  /**
   * Reads a complete stream by its first and its last events only. The events between are most of the bytes, but say nothing
   * new once the answer is complete.
   *
   * @returns undefined if every line must be read, as in a long, broken or unusual stream
   */
  get completeStreamReport(): Readonly<ResponseReport> | undefined {
    if (!this.#isWhole && !this.#isReadingLines)
      this.#isWhole = this.#readFirstAndLastEvents(this.#unreadPieces.map(({ piece }) => piece));
    return this.#isWhole ? this.#report : undefined;
  }

  /** @returns whether the first and the last bytes are those of a stream that ended as the API ends it. */
  #readFirstAndLastEvents(pieces: readonly Uint8Array[]): boolean {
    const [first] = pieces;
    if (this.#shouldReadBlocks || !first) return false;
    const tail = joinLastBytes(pieces, TAIL_BYTES);
    const startEnd = first.indexOf(LINE_FEED, MESSAGE_START.length);
    if (!rangeStartsWith(first, 0, first.length, MESSAGE_START) || first[startEnd + 1] !== LINE_FEED) return false;
    const deltaEnd = tail.length - MESSAGE_STOP.length;
    if (deltaEnd < 1 || !rangeStartsWith(tail, deltaEnd, tail.length, MESSAGE_STOP)) return false;
    const dataStart = tail.lastIndexOf(LINE_FEED, deltaEnd - 2) + 1;
    const deltaStart = dataStart - MESSAGE_DELTA.length;
    if (deltaStart < 1 || !rangeStartsWith(tail, deltaStart, deltaEnd, MESSAGE_DELTA)) return false;
    // Read only the last `message_delta` if the end of a block directly precedes it. Otherwise an earlier one may have reported a
    // higher usage, so read all lines.
    const before = tail.lastIndexOf(LINE_FEED, deltaStart - 2) + 1;
    if (before < 1 || !rangeStartsWith(tail, before, deltaStart, BLOCK_STOP)) return false;
    // Some gateways send several `message_delta` events with usage; then every line must be read.
    const text = decoder.decode(joinPieces(pieces));
    if (text.indexOf(DELTA_EVENT) !== text.lastIndexOf(DELTA_EVENT)) return false;
    this.#event = 'message_start';
    this.#data = decoder.decode(first.subarray(MESSAGE_START.length, startEnd));
    this.#dispatchEvent();
    this.#reportedUsage.hasBlocks = true;
    this.#event = 'message_delta';
    this.#data = decoder.decode(tail.subarray(dataStart + DATA.length, deltaEnd - 1));
    this.#dispatchEvent();
    // Use this shortcut only if both events report a complete and plausible usage. Otherwise every line must be read.
    this.#report.completed =
      this.#reportedUsage.hasPlausibleOutput(countUpperBoundOfLetters(text)) &&
      hasFinalUsage({ ...this.#report, completed: true });
    return this.#report.completed;
  }

  /** When the last event other than a ping arrived, in milliseconds since 1970; undefined before `message_start`. */
  get lastOutputAt(): number | undefined {
    this.#readPendingPieces();
    return this.#report.usage && this.#lastOutputAt;
  }

  /** Everything that the stream has reported until now. */
  get currentReport(): Readonly<ResponseReport> {
    return this.createReportAsOf(Date.now());
  }

  /** @returns everything that the stream has reported, with its deltas measured, as if it was interrupted at that time. */
  createReportAsOf(at: number): Readonly<ResponseReport> {
    this.#readPendingPieces();
    this.#report.seen = this.#observed.createObservedPart(at, this.#unfinishedEvent, this.#hasFinalOutput);
    const { handoverModels } = this.#observed;
    if (handoverModels) this.#report.handoverModels = handoverModels;
    const { longestToolResultTokens: results } = this.#observed;
    if (results) this.#report.results = results;
    if (this.#createdIds) this.#report.createdIds = this.#createdIds.collectedIds;
    return this.#report;
  }

  /** The bytes of a delta, or of the beginning of a block, whose rest has not come. */
  get #unfinishedEvent(): { isDelta: boolean; bytes: Uint8Array } | undefined {
    if (this.#isDelta) return { isDelta: true, bytes: this.#lineReader.unfinishedLineBytes };
    if (this.#event !== 'content_block_start') return undefined;
    return {
      isDelta: false,
      bytes: this.#data === undefined ? this.#lineReader.unfinishedLineBytes : encodeUtf8(this.#data),
    };
  }

  /** Whether the API itself has ended the stream, with `message_stop` or an `error` event. */
  get hasApiEndedStream(): boolean {
    this.#readPendingPieces();
    return this.#report.completed || this.#report.error_type !== undefined;
  }

  #readPendingPieces(): void {
    if (this.#isReadingLines || this.#isWhole) return;
    this.#isReadingLines = true;
    for (const arrived of this.#unreadPieces) this.#readPiece(arrived);
    this.#unreadPieces = [];
  }

  #readPiece({ piece, at, since }: TimedPiece): void {
    this.#at = at;
    this.#since = since;
    this.#lineReader.pushPiece(piece);
  }

  /** The current position of the stream in the event format, which determines what can be written next. */
  get positionInEventFormat(): StreamEndPosition {
    this.#readPendingPieces();
    const rest = this.#lineReader.unfinishedLineBytes;
    return {
      isAtBoundary: this.#isAtBoundary && rest.length === 0,
      unfinishedLine: decoder.decode(rest),
      data: this.#data,
    };
  }

  #handleLine(bytes: Uint8Array, start: number, end: number): void {
    if (start === end) {
      this.#dispatchEvent();
      return;
    }
    this.#isAtBoundary = false;
    if (rangeStartsWith(bytes, start, end, DATA)) {
      const from = skipOneSpace(bytes, start + DATA.length);
      if (this.#isDelta && this.#data === undefined && this.#observed.measureDelta(bytes, from, end))
        this.#data = MEASURED_DELTA_DATA;
      else {
        const value = decoder.decode(bytes.subarray(from, end));
        if (this.#data === undefined) this.#data = value;
        // Keep no more of a very long event: no event from which usage is read is this long.
        else if (this.#data.length <= MAX_LINE_BYTES) this.#data += `\n${value}`;
      }
    } else if (rangeStartsWith(bytes, start, end, EVENT)) {
      // Some upstreams leave out the empty line between two events. Complete data belongs to the event before this line.
      if (this.#data !== undefined && parseJsonOrUndefined(this.#data) !== undefined) this.#dispatchEvent();
      this.#isAtBoundary = false;
      const from = skipOneSpace(bytes, start + EVENT.length);
      this.#isDelta = end - from === DELTA_BYTES.length && rangeStartsWith(bytes, from, end, DELTA_BYTES);
      this.#event = this.#isDelta ? DELTA_NAME : decoder.decode(bytes.subarray(from, end));
    }
  }

  #dispatchEvent(): void {
    const data = this.#data ?? '';
    const name = this.#event;
    this.#isAtBoundary = true;
    this.#isDelta = false;
    this.#event = '';
    this.#data = undefined;
    if (data.trim() === '') return;
    const parts = splitJoinedData(data);
    // The API names each event in its `event:` line. Some gateways leave that line out, so fall back to `type` in the data.
    if (parts.length === 1) this.#readEvent(name || parseEventTypeFromData(data), data, name !== '');
    else
      for (const part of parts)
        this.#readEvent(part === MEASURED_DELTA_DATA ? name : parseEventTypeFromData(part), part, name !== '');
  }

  #readEvent(event: string, data: string, isNamed: boolean): void {
    if (event === 'error' && !isNamed) this.namelessError = data;
    if (event === '') return;
    if (event !== 'ping') this.#lastOutputAt = this.#at;
    if (event === DELTA_NAME) {
      // This delta could not be measured by its bytes: its data spans several lines or precedes its `event:` line. The API
      // sends neither, but the SSE format allows both: https://html.spec.whatwg.org/multipage/server-sent-events.html
      this.#observed.recordUnmeasuredOutput(this.#since);
      if (data !== MEASURED_DELTA_DATA) this.#observed.measureDelta(encodeUtf8(data), 0);
    } else if (event === 'message_stop') this.#report.completed = true;
    else if (event === 'content_block_start') {
      const value = parseJsonOrUndefined(data);
      this.#createdIds?.collect(value);
      const block = getMember(value, 'content_block');
      if (getMember(block, 'type') === 'fallback') this.#reportedUsage.startNextModel();
      else this.#reportedUsage.hasBlocks = true;
      this.#observed.recordBlockStart(block, this.#at, this.#since);
    } else if (event === 'content_block_stop') this.#observed.recordBlockEnd(this.#at, this.#since);
    else if (event === 'ping') this.#observed.recordPing(this.#since);
    else if (event === 'error') {
      const body = parseJsonOrUndefined(data);
      this.#report.error_type = parseErrorType(body);
      const sentence = findStoredSentence(toStringOrUndefined(getMember(getMember(body, 'error'), 'message')) ?? '');
      if (sentence !== undefined) this.#report.error_message = sentence;
    } else if (event === 'message_start') {
      const value = parseJsonOrUndefined(data);
      this.#createdIds?.collect(value);
      const message = getMember(value, 'message');
      this.#report.model = toStringOrUndefined(getMember(message, 'model'));
      if (this.#report.completed) {
        this.#reportedUsage.beginNextMessage();
        this.#report.completed = false;
      }
      // A message without `usage` has begun as well, so record an empty report for it.
      this.#report.usage = this.#reportedUsage.addReport(getMember(message, 'usage') ?? {}, 'message_start');
    } else if (event === 'message_delta') {
      const value = parseJsonOrUndefined(data);
      this.#createdIds?.collect(value);
      const delta = getMember(value, 'delta');
      this.#report.stop_reason = toStringOrUndefined(getMember(delta, 'stop_reason')) ?? this.#report.stop_reason;
      this.#report.usage = this.#reportedUsage.addReport(getMember(value, 'usage'), 'message_delta');
      if (this.#reportedUsage.isUnbilledEnd(delta)) this.#report.unbilled = true;
    }
  }

  /** Whether the end of the message has arrived and reported the output. */
  get #hasFinalOutput(): boolean {
    const isReported = this.#reportedUsage.hasPlausibleOutput(this.#observed.characters);
    return isReported && (this.#report.completed || this.#report.stop_reason !== null);
  }
}

/** @returns the type in the data of an event, because events of some gateways have no name; empty if there is none */
export function parseEventTypeFromData(data: string): string {
  const value = parseJsonOrUndefined(data);
  return isErrorBody(value) ? 'error' : (toStringOrUndefined(getMember(value, 'type')) ?? '');
}

/** @returns at least as many letters as the deltas of texts and inputs have, if they are as the API writes them */
function countUpperBoundOfLetters(text: string): number {
  let letters = 0;
  for (const { index, 0: head } of text.matchAll(WRITTEN_DELTA)) {
    const from = index + head.length;
    letters += text.indexOf('\n', from) - from - WRITTEN_END.length;
  }
  return letters;
}

/** @returns the last bytes of several pieces. Only the last two pieces are used, so there may be fewer bytes. */
function joinLastBytes(pieces: readonly Uint8Array[], length: number): Uint8Array {
  const last = pieces.at(-1) ?? new Uint8Array(0);
  const before = pieces.at(-2);
  if (last.length >= length || !before) return last.subarray(Math.max(0, last.length - length));
  const joined = new Uint8Array(Math.min(length, before.length + last.length));
  joined.set(before.subarray(Math.max(0, before.length + last.length - length)));
  joined.set(last, joined.length - last.length);
  return joined;
}
