/** Streams on their way down: the native pipe carries the bytes, usage is read from a copy, and a cut is told in-band. */

import type { IdleTimeout } from '../async/idle-timeout.ts';
import { joinedPieces } from '../http/body-pieces.ts';
import { encoder, utf8 } from '../http/bytes.ts';
import { errorEvent } from '../http/errors.ts';
import { maskedBytes } from '../http/secrets.ts';
import { startsWith } from '../sse/bytes.ts';
import { completion, cutEnding } from '../sse/endings.ts';
import { callerLeft, endOf, interrupted } from './failure.ts';
import { gather, probeDensity } from './gather.ts';
import { headersDown } from './headers.ts';
import { keepBuffer, type Piece, readTee, SMALL_PIECE_BYTES, takeBuffer } from './tee-reader.ts';
import { UsageReader, type UsageReaderOptions } from './usage/usage-reader.ts';
import type { Report } from './usage/usage-report.ts';

const NO_BYTES = new Uint8Array(0);
const MESSAGE_OPENING = utf8('event: message_start\n');
/** So many streams that begin at once may hold a large buffer each. */
const MOST_LARGE_OPENINGS = 16;
/** For what should not come at all. */
const SMALL_STREAM_BYTES = 1_024;
/**
 * Before each look at the copy: what has come in the meantime is read in one, and each look wakes the isolate. Nobody waits
 * for it, since the pipe's end ends the wait.
 */
const LAZY_WAIT_MS = 200;
/** How long a whole answer waits for the upstream to end the connection behind it. */
const MOMENT_MS = 25;
/**
 * How often a copy may still give all that has come after its pipe broke. If the upstream broke, it does so twice: a read
 * that waited, and one of what came since. More comes only from an upstream that goes on, so that the caller is gone. No
 * clock could tell this: a busy runtime may stand still at any place for any time.
 */
const READS_BEHIND_BREAK = 2;
/** How often, and how long each time, a copy is waited for that neither gives anything nor ends. */
const COPY_WAITS = 20;
const COPY_WAIT_MS = 50;

export type StreamEnding = 'complete' | 'error' | 'cut' | 'silent' | 'client_gone';

/**
 * Told once how a stream ended, and when its first byte came.
 *
 * @returns a remark to put behind a complete stream as a comment, without its colon
 */
type Finish = (report: Report, end: StreamEnding, firstByte: number) => string | undefined;

/** What relaying a stream needs of its request. */
interface StreamOptions {
  requestId: string;
  waitUntil(work: Promise<unknown>): void;
  /** @returns the edge's own headers of the answer. Default: none */
  ownHeaders?(): Record<string, string>;
}

/** What can end a stream before its end. */
interface PipeState {
  signal: AbortSignal;
  controller: AbortController;
  watchdog: IdleTimeout;
  reading: UsageReaderOptions;
  /** The beginning of the stream, where it has been read already; in a spare buffer. */
  opening?: Uint8Array | undefined;
}

/**
 * Looks at the first piece before anything goes down. A short answer is often whole in it: then its price is known, and
 * it needs no stream. Of any other the native pipe carries the rest, and JavaScript sees only a copy, late and in large
 * pieces.
 */
export async function relayStream(
  response: Response,
  body: ReadableStream<Uint8Array>,
  course: PipeState,
  { requestId, waitUntil, ownHeaders }: StreamOptions,
  finish: Finish,
): Promise<Response> {
  const usage = new UsageReader(course.reading);
  const opening = await readOpening(body, usage, course.watchdog, course.opening);
  const report = opening.isAll ? usage.wholeReport : undefined;
  if (report) {
    course.watchdog.stop();
    const remark = finish(report, 'complete', opening.firstByte);
    // A copy: the buffer will hold somebody else's answer before this one has gone down.
    const whole = withComment(opening.bytes, remark);
    keepBuffer(opening.bytes);
    return streamDown(response, whole, ownHeaders?.());
  }
  const { readable, writable } = new IdentityTransformStream();
  waitUntil(pour(opening, writable, usage, course, requestId, finish));
  return streamDown(response, readable, ownHeaders?.());
}

function streamDown(
  { status, headers }: Response,
  body: ReadableStream | Uint8Array,
  own: Record<string, string> | undefined,
): Response {
  // All at once: a header that is set on a response costs the runtime as much as several that it is made with.
  const down = Object.assign(headersDown(headers), own);
  down['cache-control'] = 'no-cache, no-transform';
  down['x-accel-buffering'] = 'no';
  return new Response(body, { status, headers: down });
}

/** What had come of a stream before anything went down. */
interface StreamOpening {
  /** In a spare buffer. */
  bytes: Uint8Array;
  /** When the first of them came. */
  firstByte: number;
  /** Whether the stream has ended behind them. */
  isAll: boolean;
  /** Where more comes from, with the read that already waits for it; undefined if nothing more can come. */
  rest: { body: ReadableStream<Uint8Array>; reader: ReadableStreamBYOBReader; next?: Promise<Piece> } | undefined;
}

async function readOpening(
  body: ReadableStream<Uint8Array>,
  usage: UsageReader,
  watchdog: IdleTimeout,
  given: Uint8Array | undefined,
): Promise<StreamOpening> {
  const reader = body.getReader({ mode: 'byob' });
  const opening: StreamOpening = { bytes: NO_BYTES, firstByte: Date.now(), isAll: false, rest: undefined };
  try {
    const { value, done }: Piece = given ? { value: given, done: false } : await readFirst(reader);
    opening.firstByte = Date.now();
    watchdog.touch(opening.firstByte);
    if (!value) return opening;
    // What begins otherwise may be an error, which may repeat what a gateway was sent.
    opening.bytes = startsWith(value, 0, value.length, MESSAGE_OPENING) ? value : maskedBytes(value);
    if (!done) opening.rest = { body, reader };
    usage.push(opening.bytes, true);
    if (!opening.rest || !usage.wholeReport) return opening;
    // Nothing follows what ends as the API ends an answer; an upstream that goes on all the same does so at once.
    opening.rest.next = reader.read(new Uint8Array(new ArrayBuffer(SMALL_STREAM_BYTES)));
    opening.isAll = (await withinMoment(opening.rest.next, MOMENT_MS))?.done === true;
  } catch {
    // The break is told by what the usage reader has not seen: an end.
    opening.rest = undefined;
  }
  return opening;
}

/** Writes what had come, and lets its buffer go: it must not be held for as long as the answer takes. */
function writeOpening(opening: StreamOpening, writable: WritableStream<Uint8Array>): void {
  write(writable, opening.bytes.slice());
  keepBuffer(opening.bytes);
  opening.bytes = NO_BYTES;
}

/** How many streams wait for their first bytes, in this isolate. */
let waitingStreams = 0;

/** Reads what has come first. Of many that wait at once only some hold a large buffer. */
async function readFirst(reader: ReadableStreamBYOBReader): Promise<Piece> {
  waitingStreams += 1;
  const isOneOfMany = waitingStreams > MOST_LARGE_OPENINGS;
  try {
    return await reader.read(new Uint8Array(isOneOfMany ? new ArrayBuffer(SMALL_PIECE_BYTES) : takeBuffer()));
  } finally {
    waitingStreams -= 1;
  }
}

/** Carries a stream down to its end, and says what remains to be said. */
async function pour(
  opening: StreamOpening,
  writable: WritableStream<Uint8Array>,
  usage: UsageReader,
  { signal, controller, watchdog }: PipeState,
  requestId: string,
  finish: Finish,
): Promise<void> {
  const { firstByte, rest } = opening;
  writeOpening(opening, writable);
  /** Whether the usage reader has seen all that came. */
  let isRead = true;
  try {
    const following = await rest?.next;
    if (following?.value) {
      usage.push(following.value);
      write(writable, following.value.slice());
    }
    if (rest && !following?.done) {
      const take = (piece: Uint8Array, at: number) => {
        watchdog.touch(at);
        usage.push(piece, false, at);
      };
      const density = await probeDensity(rest.reader, (piece, at) => {
        write(writable, piece.slice());
        take(piece, at);
      });
      if (density !== 'ended') {
        rest.reader.releaseLock();
        isRead = await carryDown(rest.body, density, writable, usage, watchdog);
      }
    }
  } catch {
    // It broke behind an answer that was whole.
  }
  watchdog.stop();
  let words = '';
  try {
    const report = usage.wholeReport;
    if (report) {
      words = comment(finish(report, 'complete', firstByte));
    } else {
      const completed = isRead && !usage.ended ? completion(usage.end) : undefined;
      if (completed !== undefined) usage.complete(completed);
      words = completed ?? '';
      if (usage.ended) {
        const { report } = usage;
        const remark = finish(report, report.completed ? 'complete' : 'error', firstByte);
        if (report.completed && usage.end.atBoundary) words += comment(remark);
      } else if (signal.aborted || !isRead) {
        controller.abort(callerLeft());
        // Should the caller be there all the same, this must not look like a clean end, wherever the stream stopped.
        if (!signal.aborted) words = `\n${errorEvent(interrupted(false), requestId)}`;
        finish(usage.report, 'client_gone', firstByte);
      } else {
        const silent = endOf(controller.signal.reason) === 'silent';
        words += cutEnding(usage.end, errorEvent(interrupted(silent), requestId));
        finish(usage.report, silent ? 'silent' : 'cut', firstByte);
      }
    }
  } finally {
    writeLastWords(writable, words);
  }
}

/**
 * Carries the rest of a stream down: gathered while it is dense, otherwise by the native pipe.
 *
 * @returns whether all that came has been read; false if the caller has left
 * @throws what a gathered stream broke with, after all that came before
 */
async function carryDown(
  body: ReadableStream<Uint8Array>,
  density: 'dense' | 'sparse',
  writable: WritableStream<Uint8Array>,
  usage: UsageReader,
  watchdog: IdleTimeout,
): Promise<boolean> {
  if (density === 'sparse') return await carryNatively(body, writable, usage, watchdog);
  const writer = writable.getWriter();
  const gathered = await gather(body, {
    take(piece) {
      watchdog.touch();
      usage.push(piece);
      return writer.write(piece);
    },
    onWait: (waits) => (waits ? watchdog.pause() : watchdog.touch()),
  }).finally(() => writer.releaseLock());
  if (typeof gathered === 'string') return gathered === 'ended';
  return await carryNatively(gathered.sparse, writable, usage, watchdog);
}

/** @returns whether all that came has been read; false if the caller has left. */
async function carryNatively(
  body: ReadableStream<Uint8Array>,
  writable: WritableStream<Uint8Array>,
  usage: UsageReader,
  watchdog: IdleTimeout,
): Promise<boolean> {
  const [down, copy] = body.tee();
  const pipe = down.pipeTo(writable, { preventClose: true, preventAbort: true }).then(
    () => true,
    () => false,
  );
  let hasBroken = false;
  let readsBehind = 0;
  let goesOn: () => void = () => {};
  const abandoned = new Promise<false>((resolve) => {
    goesOn = () => resolve(false);
  });
  // What has come must be seen before the stream counts as silent.
  const waitMs = Math.min(LAZY_WAIT_MS, watchdog.limitMs / 4);
  const reading = readCopy(copy, usage, pipe, waitMs, (isAll) => {
    watchdog.touch(Date.now());
    if (hasBroken && isAll) readsBehind += 1;
    if (readsBehind > READS_BEHIND_BREAK) goesOn();
  });
  const isCarried = await pipe;
  hasBroken = !isCarried;
  return await (isCarried ? reading : Promise.race([reading, abandoned, wait()]));
}

/**
 * Reads the copy of a stream to its end.
 *
 * @returns true in the end; it never rejects: a copy that breaks has ended where it broke
 */
async function readCopy(
  copy: ReadableStream<Uint8Array>,
  usage: UsageReader,
  pipe: Promise<boolean>,
  waitMs: number,
  onPiece: (isAll: boolean) => void,
): Promise<boolean> {
  try {
    await readTee(copy.getReader({ mode: 'byob' }), pipe, waitMs, (piece, isAll, since) => {
      onPiece(isAll);
      usage.push(piece, false, Date.now(), since);
      return false;
    });
  } catch {
    // The break is told by what the reader has not seen: an end.
  }
  return true;
}

/** @returns what a promise comes to, or undefined if that takes longer. */
function withinMoment<T>(coming: Promise<T>, milliseconds: number): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const waiting = setTimeout(resolve, milliseconds, undefined);
    coming.then(
      (value) => {
        clearTimeout(waiting);
        resolve(value);
      },
      (thrown) => {
        clearTimeout(waiting);
        reject(thrown);
      },
    );
  });
}

/** Writes without waiting: to a caller that stopped reading it can take for ever. */
function write(writable: WritableStream<Uint8Array>, bytes: Uint8Array): void {
  if (bytes.length === 0) return;
  const writer = writable.getWriter();
  writer.write(bytes).catch(ignoreGone);
  writer.releaseLock();
}

/** Writes and closes without waiting: to a caller that stopped reading it can take for ever. */
function writeLastWords(writable: WritableStream, words: string): void {
  const writer = writable.getWriter();
  const written = words === '' ? undefined : writer.write(encoder.encode(words));
  Promise.all([written, writer.close()]).catch(ignoreGone);
}

/** The caller has left in the meantime; there is nobody to tell. */
function ignoreGone(): void {}

/** @returns a copy with the remark behind it. */
function withComment(bytes: Uint8Array, remark: string | undefined): Uint8Array {
  return joinedPieces([bytes, encoder.encode(comment(remark))]);
}

function comment(remark: string | undefined): string {
  return remark === undefined ? '' : `: ${remark}\n\n`;
}

/** Waits for a copy, in several turns: in each of them what has come since the last one can be read first. */
async function wait(): Promise<false> {
  for (let turn = 0; turn < COPY_WAITS; turn += 1) await scheduler.wait(COPY_WAIT_MS);
  return false;
}
