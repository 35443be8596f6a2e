/** Streams on their way down: the native pipe carries the bytes, usage is read from a copy, and a cut is told in-band. */

import type { IdleTimeout } from '../async/idle-timeout.ts';
import { encoder, joined } from '../http/bytes.ts';
import { errorEvent } from '../http/errors.ts';
import { completion, cutEnding } from '../sse/endings.ts';
import { callerLeft, endOf, interrupted } from './failure.ts';
import { headersDown } from './headers.ts';
import { keepBuffer, type Piece, readTee, takeBuffer } from './tee-reader.ts';
import { UsageReader, type UsageReaderOptions } from './usage/usage-reader.ts';
import type { Report } from './usage/usage-report.ts';

const NO_BYTES = new Uint8Array(0);
/** For what should not come at all. */
const SMALL_STREAM_BYTES = 1_024;
/** Before each look at the copy: what has come in the meantime is read in one. */
const LAZY_WAIT_MS = 25;
/** How long a whole answer waits for the upstream to end the connection behind it. */
const MOMENT_MS = 25;
/** An upstream that broke has nothing more to say after so long. */
const BREAK_MS = 30;
/** How long a copy may lag behind a pipe that broke before it is clear that the caller, not the upstream, is gone. */
const COPY_GRACE_MS = 1_000;

export type StreamEnding = 'complete' | 'error' | 'cut' | 'silent' | 'client_gone';

/**
 * Told once how a stream ended, and when its first byte came.
 *
 * @returns a remark to put behind a complete stream as a comment, without its colon
 */
type Finish = (report: Report, end: StreamEnding, firstByte: number) => string | undefined;

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
  { requestId, waitUntil }: { requestId: string; waitUntil(work: Promise<unknown>): void },
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
    return streamDown(response, whole);
  }
  const { readable, writable } = new IdentityTransformStream();
  waitUntil(pour(opening, writable, usage, course, requestId, finish));
  return streamDown(response, readable);
}

function streamDown({ status, headers }: Response, body: ReadableStream | Uint8Array): Response {
  const down = headersDown(headers);
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
    const { value, done }: Piece = given
      ? { value: given, done: false }
      : await reader.read(new Uint8Array(takeBuffer()));
    opening.firstByte = Date.now();
    watchdog.touch(opening.firstByte);
    if (!value) return opening;
    opening.bytes = value;
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

/** Carries a stream down to its end, and says what remains to be said. */
async function pour(
  { bytes, firstByte, rest }: StreamOpening,
  writable: WritableStream<Uint8Array>,
  usage: UsageReader,
  { signal, controller, watchdog }: PipeState,
  requestId: string,
  finish: Finish,
): Promise<void> {
  write(writable, bytes.slice());
  keepBuffer(bytes);
  /** Whether the usage reader has seen all that came. */
  let isRead = true;
  try {
    const following = await rest?.next;
    if (following?.value) {
      usage.push(following.value);
      write(writable, following.value.slice());
    }
    if (rest && !following?.done) {
      // What has come is on its way down before all is set up for what follows.
      await scheduler.wait(0);
      rest.reader.releaseLock();
      const [down, copy] = rest.body.tee();
      const pipe = down.pipeTo(writable, { preventClose: true, preventAbort: true }).then(
        () => true,
        () => false,
      );
      let brokeAt: number | undefined;
      let goesOn: () => void = () => {};
      const abandoned = new Promise<false>((resolve) => {
        goesOn = () => resolve(false);
      });
      const reading = readCopy(copy, usage, pipe, (at) => {
        watchdog.touch(at);
        // What still comes from the upstream tells that it is the other side which has broken.
        if (brokeAt !== undefined && at - brokeAt > BREAK_MS) goesOn();
      });
      const isCarried = await pipe;
      if (!isCarried) brokeAt = Date.now();
      isRead = await (isCarried ? reading : Promise.race([reading, abandoned, wait(COPY_GRACE_MS)]));
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
 * Reads the copy of a stream to its end.
 *
 * @returns true in the end; it never rejects: a copy that breaks has ended where it broke
 */
async function readCopy(
  copy: ReadableStream<Uint8Array>,
  usage: UsageReader,
  pipe: Promise<boolean>,
  onPiece: (at: number) => void,
): Promise<boolean> {
  try {
    await readTee(copy.getReader({ mode: 'byob' }), pipe, LAZY_WAIT_MS, (piece) => {
      onPiece(Date.now());
      usage.push(piece);
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
  return joined(bytes, encoder.encode(comment(remark)));
}

function comment(remark: string | undefined): string {
  return remark === undefined ? '' : `: ${remark}\n\n`;
}

async function wait(milliseconds: number): Promise<false> {
  await scheduler.wait(milliseconds);
  return false;
}
