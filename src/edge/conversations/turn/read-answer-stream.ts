import {
  createInterruptedError,
  createSizeGuard,
  getRequestEndOfError,
  toInterruptedError,
} from '../../claude/failure.ts';
import {
  chooseNextBuffer,
  drainReader,
  pipeStreamToLateReader,
  readTeeCopyToEnd,
  returnPooledBuffer,
  SMALL_PIECE_BYTES,
  type StreamReadResult,
} from '../../claude/relay/tee-reader.ts';
import { readFirstBytes } from '../../claude/stream.ts';
import { parseEventTypeFromData } from '../../claude/usage/usage-reader.ts';
import { joinPieces } from '../../kit/http/body-pieces.ts';

import { parseSseEvents, type SseEvent, SseEventReader } from '../../kit/sse/frames.ts';
import type { TurnEventPublisher } from './publisher.ts';
import type { TurnAborter } from './turn-abort.ts';
import type { TurnEnd } from './turn-ending.ts';
import type { TurnRecorder } from './turn-recorder.ts';
import type { TurnTimer } from './turn-timer.ts';

/**
 * Milliseconds between two reads, each of which takes all pieces that have arrived, once the first delta has been shown. At 40
 * tokens per second, a read takes four tokens, about three words, and the text still seems to grow evenly. A read costs the same
 * however much has arrived: with 50 ms, a stream takes one and a half times as much CPU time.
 */
const SHOW_MS = 100;

/** So many bytes are decoded at once to find the first event of a stream. `message_start` usually has fewer. */
const FIRST_EVENT_BYTES = 1_024;

/** What reading an answer needs from its turn. */
export interface ReadAnswerStreamOptions {
  /** The beginning of the stream, if it has been read already. Reading may use its buffer again. */
  opening?: Uint8Array | undefined;
  turn: TurnRecorder;
  publisher: TurnEventPublisher;
  timer: TurnTimer;
  abort: TurnAborter;
  now(): number;
  /** Called when there are events for the caller. It may be called often. */
  onEvents(): void;
}

/**
 * Reads the upstream's stream to its end, and publishes what comes.
 *
 * @returns how the turn ends. `rest` settles when the stream has closed after the last event, if that can be awaited
 */
export async function readAnswerStream(
  body: ReadableStream<Uint8Array>,
  { opening, turn, publisher, timer, abort, now, onEvents }: ReadAnswerStreamOptions,
): Promise<{ how: TurnEnd; rest: Promise<boolean> | undefined }> {
  let how: TurnEnd | undefined;
  const takeSize = createSizeGuard();
  /** @returns whether this piece ends the turn */
  const takePiece = (piece: Uint8Array, since?: number): boolean => {
    const lateMs = since === undefined ? 0 : Date.now() - since;
    if (turn.lateReading) {
      turn.takePieceAfterEnd(piece, now(), lateMs);
      return false;
    }
    // Check for an abort here instead of racing each read with it, which would cost as much as the read. The abort also cancels
    // the readers, so that no read waits for ever.
    if (abort.reason) throw abort.reason;
    takeSize(piece);
    timer.restartTimeLimit();
    turn.firstByteAt ??= now();
    const content = turn.takePiece(piece, now(), lateMs);
    how = content.how;
    if (how) return true;
    publisher.publishEvents(content);
    // Answer the caller now, unless the whole answer was in its first piece: such an answer is sent as one text.
    if (turn.log.events > 0) onEvents();
    return false;
  };
  let rest: Promise<boolean> | undefined;
  try {
    const reader = await readToFirstDelta(body, opening, publisher, abort, takePiece);
    if (reader && how) rest = drainReader(reader);
    else if (reader) {
      // From here on, read several pieces together every few milliseconds, because reading each piece separately costs too much
      // CPU time.
      reader.releaseLock();
      const [stream, copy] = body.tee();
      const teeReader = copy.getReader({ mode: 'byob' });
      // The runtime pipes one branch as the pieces arrive. They collect in the other branch until the next read.
      const driven = pipeStreamToLateReader(stream);
      abort.readers = [driven.reader, teeReader];
      rest = driven.whole;
      await readTeeCopyToEnd(teeReader, rest, SHOW_MS, (piece, _, since) => takePiece(piece, since));
      teeReader.cancel().catch(() => {});
    }
    if (abort.reason) throw abort.reason;
    how ??= turn.takeUnfinishedEvents() ?? { kind: 'cut', error: createInterruptedError(false), end: 'cut' };
  } catch (thrown) {
    const reason = abort.reason ?? thrown;
    const end = classifyInterruption(reason);
    const error = end === 'silent' ? createInterruptedError(true, reason) : toInterruptedError(reason);
    how = abort.isStopped ? { kind: 'stopped' } : { kind: 'cut', error, end };
  }
  return { how, rest };
}

/**
 * Reads a stream up to its first event that is not a ping, so that an error there can be handled before anything is shown. Does
 * not report a failure: the next read meets the same break or abort.
 *
 * @returns all bytes that were read, and the first event; no event if there is none before the end
 */
export async function readFirstMeaningfulEvent(
  body: ReadableStream<Uint8Array>,
  { opening, timer, abort }: Pick<ReadAnswerStreamOptions, 'opening' | 'timer' | 'abort'>,
): Promise<{ opening: Uint8Array | undefined; first: SseEvent | undefined }> {
  const frames = new SseEventReader();
  let first: SseEvent | undefined;
  const takePiece = (piece: Uint8Array) => {
    // Decode only until the event is complete: the piece may contain a long answer, which is decoded later.
    for (let at = 0; at < piece.length && !first; at += FIRST_EVENT_BYTES) {
      frames.scanCompletedEvents(piece.subarray(at, at + FIRST_EVENT_BYTES), (text, start, end) => {
        first = parseSseEvents(text, start, end).find(isMeaningfulEvent);
        return first ? undefined : end + 2;
      });
    }
  };
  const pieces = opening ? [opening] : [];
  if (opening) takePiece(opening);
  const reader = body.getReader({ mode: 'byob' });
  abort.readers = [reader];
  try {
    while (!first) {
      const { value, done }: StreamReadResult = await readFirstBytes(reader);
      if (done || !value) {
        first = frames.unterminatedLastEvents.find(isMeaningfulEvent);
        break;
      }
      timer.restartTimeLimit();
      // Copy only a short piece, because its buffer takes up much more memory.
      const isShort = value.length < SMALL_PIECE_BYTES;
      const piece = isShort ? value.slice() : value;
      if (isShort) returnPooledBuffer(value);
      pieces.push(piece);
      takePiece(piece);
    }
  } catch {
    // Ignore the error: the stream is broken, so whatever reads it next gets the same error.
  }
  reader.releaseLock();
  return { opening: pieces.length > 1 ? joinPieces(pieces) : pieces[0], first };
}

/** @returns whether an event has content. A ping has none, nor does an event without a name whose data has no type */
function isMeaningfulEvent({ event, data }: SseEvent): boolean {
  const name = event || parseEventTypeFromData(data);
  return name !== '' && name !== 'ping';
}

/**
 * Reads piece by piece until the first delta, so that it is shown at once.
 *
 * @returns the reader; undefined if the stream has ended
 */
async function readToFirstDelta(
  body: ReadableStream<Uint8Array>,
  opening: Uint8Array | undefined,
  publisher: TurnEventPublisher,
  abort: TurnAborter,
  take: (piece: Uint8Array) => boolean,
): Promise<ReadableStreamBYOBReader | undefined> {
  const reader = body.getReader({ mode: 'byob' });
  abort.readers = [reader];
  let buffer: ArrayBuffer | undefined;
  let isLast = opening !== undefined && take(opening);
  // The caller has given up the opening, so its buffer can be used again.
  if (opening) returnPooledBuffer(opening);
  while (!publisher.hasDelta && !isLast) {
    const { value, done }: StreamReadResult = await (buffer
      ? reader.read(new Uint8Array(buffer))
      : readFirstBytes(reader));
    if (done || !value) return undefined;
    isLast = take(value);
    buffer = chooseNextBuffer(value);
  }
  if (buffer) returnPooledBuffer(new Uint8Array(buffer));
  return reader;
}

/** @returns how an interrupted turn is recorded: `silent` if the upstream was idle for too long, otherwise `cut`. */
export function classifyInterruption(thrown: unknown): 'cut' | 'silent' {
  return getRequestEndOfError(thrown) === 'silent' ? 'silent' : 'cut';
}
