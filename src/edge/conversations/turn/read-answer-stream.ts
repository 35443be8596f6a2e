import { createSizeGuard, endOf, interruptedError, toInterruptedError } from '../../claude/failure.ts';
import {
  chooseNextBuffer,
  drain,
  type Piece,
  pumpStream,
  readTee,
  returnBuffer,
} from '../../claude/relay/tee-reader.ts';
import { readFirstBytes } from '../../claude/stream.ts';
import { typeOfData } from '../../claude/usage/usage-reader.ts';
import { joinPieces } from '../../kit/http/body-pieces.ts';

import { type Frame, FrameReader, parseFrame } from '../../kit/sse/frames.ts';
import type { Publisher } from './publisher.ts';
import type { TurnAbort } from './turn-abort.ts';
import type { TurnEnd } from './turn-ending.ts';
import type { TurnRecorder } from './turn-recorder.ts';
import type { TurnTimer } from './turn-timer.ts';

/**
 * Milliseconds between two times at which the pieces so far are taken, once the first delta has been shown. Of 40 tokens a
 * second four come together, about three words: ten times a second a text still grows evenly before the eye. Each time costs
 * the same, however much has come: at 50 ms a stream takes half as much CPU again.
 */
const SHOW_MS = 100;

/** What reading an answer needs from its turn. */
export interface AnswerReader {
  /** The beginning of the stream, if it has been read already. */
  opening?: Uint8Array | undefined;
  turn: TurnRecorder;
  publisher: Publisher;
  timer: TurnTimer;
  abort: TurnAbort;
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
  { opening, turn, publisher, timer, abort, now, onEvents }: AnswerReader,
): Promise<{ how: TurnEnd; rest: Promise<boolean> | undefined }> {
  let how: TurnEnd | undefined;
  const takeSize = createSizeGuard();
  /** @returns whether this piece ends the turn */
  const take = (piece: Uint8Array, since?: number): boolean => {
    const lateMs = since === undefined ? 0 : Date.now() - since;
    if (turn.lateReading) {
      turn.takeLate(piece, now(), lateMs);
      return false;
    }
    // An abort cancels the readers, which ends every wait. A race for each read would cost as much as the read.
    if (abort.reason) throw abort.reason;
    takeSize(piece);
    timer.touch();
    turn.firstByteAt ??= now();
    const content = turn.take(piece, now(), lateMs);
    how = content.how;
    if (how) return true;
    publisher.publish(content);
    // An answer that ends with its first piece is passed on as one text. For any other the caller is answered now.
    if (turn.log.events > 0) onEvents();
    return false;
  };
  let rest: Promise<boolean> | undefined;
  try {
    const reader = await readToFirstDelta(body, opening, publisher, abort, take);
    if (reader && how) rest = drain(reader);
    else if (reader) {
      // From here on pieces are taken together every few milliseconds. Reading each piece by itself would cost too much.
      reader.releaseLock();
      const [stream, copy] = body.tee();
      const teeReader = copy.getReader({ mode: 'byob' });
      const driven = pumpStream(stream);
      abort.readers = [driven.reader, teeReader];
      rest = driven.whole;
      await readTee(teeReader, rest, SHOW_MS, (piece, _, since) => take(piece, since));
      teeReader.cancel().catch(() => {});
    }
    if (abort.reason) throw abort.reason;
    how ??= turn.takeRest() ?? { kind: 'cut', error: interruptedError(false), end: 'cut' };
  } catch (thrown) {
    const reason = abort.reason ?? thrown;
    const end = interruptedEnd(reason);
    const error = end === 'silent' ? interruptedError(true, reason) : toInterruptedError(reason);
    how = abort.isStopped ? { kind: 'stopped' } : { kind: 'cut', error, end };
  }
  return { how, rest };
}

/**
 * Reads a stream until it says something beside pings, so that this can be judged before all else. It ends nothing: who reads on
 * meets a break, or an abort, again.
 *
 * @returns all that was read, and the first event; no event if there is none before the end
 */
export async function readFirstEvent(
  body: ReadableStream<Uint8Array>,
  { opening, timer, abort }: Pick<AnswerReader, 'opening' | 'timer' | 'abort'>,
): Promise<{ opening: Uint8Array | undefined; first: Frame | undefined }> {
  const frames = new FrameReader();
  let first: Frame | undefined;
  const take = (piece: Uint8Array) =>
    frames.scan(piece, (text, start, end) => {
      const frame = parseFrame(text, start, end);
      if (frame && isMeaningfulEvent(frame)) first = frame;
      return first ? undefined : end + 2;
    });
  const pieces = opening ? [opening] : [];
  if (opening) take(opening);
  const reader = body.getReader({ mode: 'byob' });
  abort.readers = [reader];
  try {
    while (!first) {
      const { value, done }: Piece = await readFirstBytes(reader);
      if (done || !value) {
        first = frames.unfinishedFrame;
        break;
      }
      timer.touch();
      const piece = value.slice();
      returnBuffer(value);
      pieces.push(piece);
      take(piece);
    }
  } catch {
    // The stream broke off. Its reader meets the break again.
  }
  reader.releaseLock();
  return { opening: pieces.length > 0 ? joinPieces(pieces) : undefined, first };
}

/** @returns whether an event says something: a ping does not, nor does one without a name whose data does not say what it is */
function isMeaningfulEvent({ event, data }: Frame): boolean {
  const name = event || typeOfData(data);
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
  publisher: Publisher,
  abort: TurnAbort,
  take: (piece: Uint8Array) => boolean,
): Promise<ReadableStreamBYOBReader | undefined> {
  const reader = body.getReader({ mode: 'byob' });
  abort.readers = [reader];
  let buffer: ArrayBuffer | undefined;
  let isLast = opening !== undefined && take(opening);
  while (!publisher.hasDelta && !isLast) {
    const { value, done }: Piece = await (buffer ? reader.read(new Uint8Array(buffer)) : readFirstBytes(reader));
    if (done || !value) return undefined;
    isLast = take(value);
    buffer = chooseNextBuffer(value);
  }
  if (buffer) returnBuffer(new Uint8Array(buffer));
  return reader;
}

/** @returns how an interrupted turn is recorded: `silent` if the upstream was idle for too long, otherwise `cut`. */
export function interruptedEnd(thrown: unknown): 'cut' | 'silent' {
  return endOf(thrown) === 'silent' ? 'silent' : 'cut';
}
