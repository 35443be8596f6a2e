/**
 * Relays streams to callers: the opening, the rest, and the edge's own comment or error event at the end. If the stream is interrupted,
 * the client receives an `error` event in the stream.
 */

import type { IdleTimeout } from '../kit/async/idle-timeout.ts';
import { resolveWithin } from '../kit/async/timeout.ts';
import { joinPieces } from '../kit/http/body-pieces.ts';
import { encoder, NO_BYTES } from '../kit/http/bytes.ts';
import { ApiError, createSseErrorEvent } from '../kit/http/errors.ts';
import { createEventCompletion, createInterruptionEnding } from '../kit/sse/endings.ts';
import { createCallerErrorFromEvent } from './classify-failure.ts';
import { createCallerLeftError, createInterruptedError, getRequestEndOfError, UpstreamFailure } from './failure.ts';
import { toCallerHeaders } from './headers.ts';
import { createOutputDeadline, FIRST_OUTPUT_MS } from './keep-alive.ts';
import { StreamErrorMasker } from './relay/error-mask.ts';
import { forwardStream, ignoreCallerGone, writePiece } from './relay/forward-stream.ts';
import { returnPooledBuffer, SMALL_PIECE_BYTES, type StreamReadResult, takePooledBuffer } from './relay/tee-reader.ts';
import { UsageReader, type UsageReaderOptions } from './usage/usage-reader.ts';
import type { ResponseReport } from './usage/usage-report.ts';

/** This many streams that begin at the same time may hold a large buffer each. */
const MAX_LARGE_OPENINGS = 16;
/** The size of a buffer for bytes that are not expected. */
const SMALL_STREAM_BYTES = 1_024;
/** Milliseconds that a complete answer waits for the upstream to close the stream after it. */
export const CLOSE_WAIT_MS = 25;
/** The services of the Claude API themselves: they quote no key. Only a gateway before them may do that. */
const CLAUDE_SERVICES =
  /^https:\/\/(?:api\.anthropic\.com|[\w.-]+\.(?:api\.aws|googleapis\.com|services\.ai\.azure\.com))\//;

export type StreamEnding = 'complete' | 'error' | 'cut' | 'silent' | 'client_gone';

/**
 * Called once with how a stream ended, and when its first byte came.
 *
 * @returns the text of a comment after a complete stream, without the colon
 */
type StreamFinishCallback = (report: ResponseReport, end: StreamEnding, firstByte: number) => string | undefined;

/** The options of the request that relaying a stream needs. */
interface RelayStreamOptions {
  requestId: string;
  waitUntil(work: Promise<unknown>): void;
  /** @returns the edge's own headers for the answer. Default: none */
  ownHeaders?(): Record<string, string>;
}

/** The objects that can end a stream early. */
interface StreamRelayState {
  /** The upstream call. It learns the usage so far, and when the caller has left. */
  exchange: {
    reportSoFar: (() => ResponseReport) | undefined;
    abandon(): Promise<void>;
    readonly finished: Promise<void>;
  };
  signal: AbortSignal;
  controller: AbortController;
  watchdog: IdleTimeout;
  usageReaderOptions: UsageReaderOptions;
  /** The beginning of the stream, if it has been read already; in a pooled buffer. */
  opening?: Uint8Array | undefined;
  /** Whether results of tools in it may repeat a secret. */
  repeatsSecrets?: boolean | undefined;
  /**
   * Classifies the first bytes.
   *
   * @returns the response in place of a stream that is nothing but an error
   * @throws ApiError for an error that only the operator can correct
   */
  classifyOpening?(opening: Uint8Array): Response | undefined;
}

/**
 * Relays a stream. It reads the first piece before it responds. A short answer is often complete in this piece: then
 * its price is known, and it needs no stream. Otherwise the native pipe carries the rest, and JavaScript reads only a copy,
 * late and in large pieces.
 */
export async function relayStream(
  response: Response,
  body: ReadableStream<Uint8Array>,
  state: StreamRelayState,
  { requestId, waitUntil, ownHeaders }: RelayStreamOptions,
  finish: StreamFinishCallback,
): Promise<Response> {
  const usage = new UsageReader(state.usageReaderOptions);
  state.exchange.reportSoFar = () => usage.currentReport;
  state.watchdog.setDeadline(
    createOutputDeadline(state.usageReaderOptions.sentAt ?? Date.now(), () => usage.lastOutputAt),
  );
  // The masker reads every piece in JavaScript, which costs more than the native pipe, so omit it for Claude's own services.
  const { repeatsSecrets: repeats = false } = state;
  const mask = !repeats && CLAUDE_SERVICES.test(response.url) ? undefined : new StreamErrorMasker(repeats);
  const opening = await readStreamStart(body, usage, state);
  const refused = state.classifyOpening?.(opening.bytes);
  if (refused) return refused;
  const report = opening.isAll ? usage.completeStreamReport : undefined;
  if (report) {
    state.watchdog.stopWatching();
    const comment = finish(report, 'complete', opening.firstByte);
    const whole = appendSseComment(mask?.maskPiece(opening.bytes) ?? opening.bytes, comment);
    const answer = createStreamResponse(response, whole, ownHeaders?.());
    // `new Response` has copied the bytes, so return the buffer to the pool.
    returnPooledBuffer(opening.bytes);
    return answer;
  }
  const { readable, writable } = new IdentityTransformStream();
  waitUntil(forwardStreamToEnd(opening, writable, usage, mask, state, requestId, finish));
  return createStreamResponse(response, readable, ownHeaders?.());
}

function createStreamResponse(
  { status, headers }: Response,
  body: ReadableStream | Uint8Array,
  ownHeaders: Record<string, string> | undefined,
): Response {
  // Set all headers in the constructor: setting one on an existing `Response` costs as much as several there.
  const callerHeaders = Object.assign(toCallerHeaders(headers), ownHeaders);
  callerHeaders['cache-control'] = 'no-cache, no-transform';
  callerHeaders['x-accel-buffering'] = 'no';
  return new Response(body, { status, headers: callerHeaders });
}

/** The part of a stream that was read before anything was sent to the caller. */
interface BufferedStreamStart {
  /** The bytes, in a pooled buffer. */
  bytes: Uint8Array;
  /** When the first byte came; milliseconds since 1970. */
  firstByte: number;
  /** Whether the stream has ended after these bytes. */
  isAll: boolean;
  /** The source of more bytes, with the read that already waits for them; undefined if nothing more can come. */
  rest:
    | { body: ReadableStream<Uint8Array>; reader: ReadableStreamBYOBReader; next?: Promise<StreamReadResult> }
    | undefined;
}

async function readStreamStart(
  body: ReadableStream<Uint8Array>,
  usage: UsageReader,
  { exchange, watchdog, opening: first }: StreamRelayState,
): Promise<BufferedStreamStart> {
  const reader = body.getReader({ mode: 'byob' });
  void exchange.finished.then(() => reader.cancel().catch(ignoreCallerGone));
  const opening: BufferedStreamStart = { bytes: NO_BYTES, firstByte: Date.now(), isAll: false, rest: undefined };
  try {
    const { value, done }: StreamReadResult = first ? { value: first, done: false } : await readFirstBytes(reader);
    opening.firstByte = Date.now();
    watchdog.restartIdleTime(opening.firstByte);
    if (!value) return opening;
    opening.bytes = value;
    if (!done) opening.rest = { body, reader };
    usage.addPiece(opening.bytes, true);
    if (!opening.rest || !usage.completeStreamReport) return opening;
    // The API sends nothing after its last event. Wait briefly, because an upstream that sends more usually does so at once.
    opening.rest.next = reader.read(new Uint8Array(new ArrayBuffer(SMALL_STREAM_BYTES)));
    opening.isAll = (await resolveWithin(opening.rest.next, CLOSE_WAIT_MS))?.done === true;
  } catch {
    // Ignore the error: the usage reader has not seen the end of the stream, so the report shows that the stream broke.
    opening.rest = undefined;
  }
  return opening;
}

/** The streams of this isolate that wait for their first bytes with a large buffer; the first is the oldest. */
const largeOpenings = new Set<{ since: number }>();

/** Reads the first bytes of a stream. If many streams wait at once, only some of them hold a large buffer. */
export async function readFirstBytes(reader: ReadableStreamBYOBReader): Promise<StreamReadResult> {
  const own = { since: Date.now() };
  for (const oldest of largeOpenings) {
    if (Math.abs(own.since - oldest.since) < FIRST_OUTPUT_MS) break;
    // The first read is long overdue, so its Durable Object has died and the read will never return.
    largeOpenings.delete(oldest);
  }
  const isOneOfMany = largeOpenings.size >= MAX_LARGE_OPENINGS;
  if (!isOneOfMany) largeOpenings.add(own);
  try {
    return await reader.read(new Uint8Array(isOneOfMany ? new ArrayBuffer(SMALL_PIECE_BYTES) : takePooledBuffer()));
  } finally {
    largeOpenings.delete(own);
  }
}

/** Writes the first bytes and puts their buffer back. Otherwise it would be taken until the answer ends. */
function writeStreamStart(
  opening: BufferedStreamStart,
  writable: WritableStream<Uint8Array>,
  mask: StreamErrorMasker | undefined,
): void {
  writeCopy(writable, opening.bytes, mask);
  returnPooledBuffer(opening.bytes);
  opening.bytes = NO_BYTES;
}

/** Forwards a stream to its end, and then writes the edge's own end of the stream. */
async function forwardStreamToEnd(
  opening: BufferedStreamStart,
  writable: WritableStream<Uint8Array>,
  usage: UsageReader,
  mask: StreamErrorMasker | undefined,
  { exchange, signal, controller, watchdog }: StreamRelayState,
  requestId: string,
  finish: StreamFinishCallback,
): Promise<void> {
  const { firstByte, rest } = opening;
  writeStreamStart(opening, writable, mask);
  /** Whether the usage reader has seen everything that came. */
  let isRead = true;
  let delivered: Promise<unknown> | undefined;
  try {
    const following = await rest?.next;
    if (following?.value) {
      usage.addPiece(following.value);
      writeCopy(writable, following.value, mask);
    }
    if (rest && !following?.done) {
      rest.reader.releaseLock();
      ({ isRead, delivered } = await forwardStream(rest.body, {
        writable,
        usage,
        mask,
        watchdog,
        signal,
        onCallerLeft: exchange.abandon,
      }));
    }
  } catch {
    // The stream broke after its last event, so the caller already has the complete response.
  }
  watchdog.stopWatching();
  if (mask) writeBytesWithoutWaiting(writable, mask.takeUnsentBytes());
  let ending = '';
  try {
    const report = usage.completeStreamReport;
    if (report) {
      ending = formatComment(finish(report, 'complete', firstByte));
    } else {
      const completion =
        isRead && !usage.hasApiEndedStream ? createEventCompletion(usage.positionInEventFormat) : undefined;
      if (completion !== undefined) usage.completeUnfinishedEvent(completion);
      ending = completion ?? '';
      if (usage.hasApiEndedStream) {
        const { currentReport: report } = usage;
        const comment = finish(report, report.completed ? 'complete' : 'error', firstByte);
        if (report.completed && usage.positionInEventFormat.isAtBoundary) ending += formatComment(comment);
        const { namelessError } = usage;
        if (!report.completed && namelessError !== undefined)
          ending += createInterruptionEnding(
            usage.positionInEventFormat,
            createSseErrorEvent(createCallerErrorFromEvent(namelessError), requestId),
          );
      } else if (signal.aborted || !isRead) {
        controller.abort(createCallerLeftError());
        // If the caller is still connected, end with an error event, wherever the stream stopped, so that it does not look
        // complete.
        if (!signal.aborted)
          ending = `\nevent: ping\n\n${createSseErrorEvent(createInterruptedError(false), requestId)}`;
        finish(usage.currentReport, 'client_gone', firstByte);
      } else {
        const { reason } = controller.signal as { reason: unknown };
        const isSilent = getRequestEndOfError(reason) === 'silent';
        const isStopped = reason instanceof ApiError && !(reason instanceof UpstreamFailure);
        ending += createInterruptionEnding(
          usage.positionInEventFormat,
          createSseErrorEvent(isStopped ? reason : createInterruptedError(isSilent), requestId),
        );
        finish(usage.currentReport, isSilent ? 'silent' : 'cut', firstByte);
      }
    }
  } finally {
    await delivered;
    writeTextAndClose(writable, ending);
  }
}

/** Writes without waiting: if the caller has stopped reading, it can take for ever. */
function writeBytesWithoutWaiting(writable: WritableStream<Uint8Array>, bytes: Uint8Array): void {
  if (bytes.length > 0) void writePiece(writable, bytes);
}

/** Writes a copy, because the buffer of the piece is used again. */
function writeCopy(writable: WritableStream<Uint8Array>, piece: Uint8Array, mask: StreamErrorMasker | undefined): void {
  writeBytesWithoutWaiting(writable, (mask?.maskPiece(piece) ?? piece).slice());
}

/** Writes and closes without waiting: if the caller has stopped reading, it can take for ever. */
function writeTextAndClose(writable: WritableStream, text: string): void {
  const writer = writable.getWriter();
  const written = text === '' ? undefined : writer.write(encoder.encode(text));
  Promise.all([written, writer.close()]).catch(ignoreCallerGone);
}

/** @returns the bytes with a comment after them: in the same buffer, if they fit. */
function appendSseComment(bytes: Uint8Array, comment: string | undefined): Uint8Array {
  if (comment === undefined) return bytes;
  const commentBytes = encoder.encode(formatComment(comment));
  const { buffer, byteOffset, length } = bytes;
  if (byteOffset + length + commentBytes.length > buffer.byteLength) return joinPieces([bytes, commentBytes]);
  const whole = new Uint8Array(buffer, byteOffset, length + commentBytes.length);
  whole.set(commentBytes, length);
  return whole;
}

function formatComment(comment: string | undefined): string {
  return comment === undefined ? '' : `: ${comment}\n`;
}
