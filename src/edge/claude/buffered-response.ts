/**
 * Reads answers that do not stream. They are read to their end before anything is sent: half a JSON body would look complete.
 */

import { joinPieces } from '../kit/http/body-pieces.ts';
import { decoder } from '../kit/http/bytes.ts';
import { createErrorBody } from '../kit/http/errors.ts';
import { maskSecretsInBytes } from '../kit/http/secrets.ts';
import { type JsonObject, parseJsonObject } from '../kit/json/object.ts';
import { type ClassifiedFailure, classifyFailure, classifyIfFailed } from './classify-failure.ts';
import { isBinary, isEventStream } from './content-type.ts';
import type { UpstreamExchange } from './exchange.ts';
import {
  createHeadersTimeoutError,
  createInterruptedError,
  createNotApiResponseError,
  createSizeGuard,
  getRequestEndOfError,
  toInterruptedError,
} from './failure.ts';
import { toCallerHeaders } from './headers.ts';
import { createOutputDeadline } from './keep-alive.ts';
import { returnPooledBuffer, takePooledBuffer } from './relay/tee-reader.ts';
import { UsageReader } from './usage/usage-reader.ts';
import { createResponseReport, isErrorBody, type ResponseReport } from './usage/usage-report.ts';

/** An answer must begin within this many bytes. There may be white space before it. */
const START_BYTES = 1_024;

/**
 * Reads a body to its end.
 *
 * @throws UpstreamFailure when the body breaks off, falls silent, or does not begin; the controller's reason when it was aborted
 */
export async function readBufferedBody(response: Response, exchange: UpstreamExchange): Promise<Uint8Array> {
  const { watchdog, controller } = exchange;
  const pieces: Uint8Array[] = [];
  const takeSize = createSizeGuard();
  let begunAt: number | undefined;
  exchange.startBodyIdleTimeout();
  watchdog.setDeadline(createOutputDeadline(exchange.progress.sentAt ?? exchange.startedAt, () => begunAt));
  const appendPiece = (piece: Uint8Array) => {
    watchdog.restartIdleTime();
    takeSize(piece);
    if (begunAt === undefined && readTrimmedStart(piece) !== '') begunAt = Date.now();
    pieces.push(piece);
  };
  try {
    if (response.body) await forEachPiece(response.body, appendPiece);
  } catch (thrown) {
    const { aborted, reason } = controller.signal;
    // Nothing was returned to the caller yet, so respond with the timeout error, no matter which part of the code waited for
    // the first byte.
    if (begunAt === undefined && aborted && getRequestEndOfError(reason) === 'silent')
      throw createHeadersTimeoutError();
    // Abort the upstream: a response that continues would be billed.
    if (!aborted) controller.abort(toInterruptedError(thrown));
    throw controller.signal.reason;
  } finally {
    watchdog.stopWatching();
  }
  return pieces.length === 1 && pieces[0] ? pieces[0] : joinPieces(pieces);
}

/** Reads a stream to its end. (To iterate over a stream costs several times as much as to read it.) */
async function forEachPiece(body: ReadableStream<Uint8Array>, take: (piece: Uint8Array) => void): Promise<void> {
  const reader = createByobReader(body);
  if (!reader) {
    const chunks = body.getReader();
    for (let next = await chunks.read(); !next.done; next = await chunks.read()) take(next.value);
    return;
  }
  for (let buffer = takePooledBuffer(); ; ) {
    const { value, done } = await reader.read(new Uint8Array(buffer));
    if (value) buffer = value.buffer as ArrayBuffer;
    if (done || !value) {
      returnPooledBuffer(new Uint8Array(buffer));
      return;
    }
    // Copy the piece, because the next read reuses the buffer.
    take(value.slice());
  }
}

/** @returns a reader that fills given buffers; undefined for a stream of chunks, as JavaScript makes them. */
function createByobReader(body: ReadableStream<Uint8Array>): ReadableStreamBYOBReader | undefined {
  try {
    return body.getReader({ mode: 'byob' });
  } catch {
    return undefined;
  }
}

/** A buffered answer, read to its end and judged. */
export interface BufferedResult {
  /**
   * The kind of the response: the requested answer; an error, in the API's form or with the status of an error; an incomplete
   * answer; or something that the API would not send.
   */
  kind: 'answer' | 'error' | 'interrupted' | 'nothing';
  body: Uint8Array;
  /** The body as a JSON object; undefined if it is not a JSON object. */
  json: JsonObject | undefined;
  report: ResponseReport;
  /** The classification of an error. */
  refusal: ClassifiedFailure | undefined;
}

/**
 * Reads a buffered answer, and decides what it is and whether the upstream bills it.
 *
 * @param exchange its `progress.sentAt` becomes undefined if the upstream cannot have worked on the request: nothing is billed
 * @param expected whether only a message or an error counts as an answer
 * @throws ApiError when the body breaks or stalls, or the controller's reason when it was aborted; and where a message has not
 *   one byte, if it may have run
 */
export async function readBufferedResponse(
  response: Response,
  exchange: UpstreamExchange,
  expected: 'message' | 'anything',
): Promise<BufferedResult> {
  const { progress } = exchange;
  // Decide from the status before reading: if the body breaks off, it can no longer be classified.
  if (!response.ok && !classifyIfFailed(response, '', progress.elapsedMs)?.mayHaveRun) progress.sentAt = undefined;
  const { isStreamedInternally = false } = progress;
  // Closing the connection does not stop a buffered response. So reset the flag while the body is read, for its readers if the
  // caller leaves or the body breaks off: `UpstreamExchange.abandon` would read on to a first event, and the settlement would
  // assume that the response has stopped. It is restored below if the response is not a message.
  if (isStreamedInternally && response.ok) progress.isStreamedInternally = false;
  let body = await readBufferedBody(response, exchange);
  const streams = isEventStream(response);
  if (streams && progress.opening) body = joinPieces([progress.opening, body]);
  const start = readTrimmedStart(body);
  if (response.ok && expected === 'message' && (start === '' || (!streams && isBinary(start)))) {
    // A success response that is empty or unreadable does not tell whether the model ran, so classify it as a failed call.
    const elapsedMs = Date.now() - (progress.sentAt ?? Date.now());
    const { mayHaveRun, forCaller } = classifyFailure({ thrown: createNotApiResponseError() }, { text: '', elapsedMs });
    if (mayHaveRun) {
      progress.isStreamedInternally = isStreamedInternally;
      throw forCaller;
    }
  }
  let json = parseJsonObject(body);
  let refusal: ClassifiedFailure | undefined;
  if (!response.ok || isErrorBody(json) || streams) {
    body = maskSecretsInBytes(body);
    json = parseJsonObject(body);
    refusal = classifyIfFailed(response, decoder.decode(body), progress.elapsedMs);
  }
  const report =
    streams && response.ok
      ? reportUsageOfUnexpectedStream(body, progress.sentAt)
      : createResponseReport(json, body.length);
  const isWhole = !streams && expected === 'message' ? report.completed : json !== undefined;
  const kind = refusal ? 'error' : isWhole ? 'answer' : isTruncatedJson(body) ? 'interrupted' : 'nothing';
  if (refusal) {
    report.error_type = refusal.forOperator;
    exchange.recordHealth(refusal);
  } else if (kind === 'answer') exchange.recordHealth(undefined);
  // The API has not worked on the request if another service responded without `usage`, or if the API rejected it at once.
  if ((kind === 'nothing' && !report.usage) || (refusal && !refusal.mayHaveRun)) progress.sentAt = undefined;
  return { kind, body, json, report, refusal };
}

/** @returns the report of a stream that was not requested. It is no valid response, but may have cost something */
function reportUsageOfUnexpectedStream(body: Uint8Array, sentAt = Date.now()): ResponseReport {
  const reader = new UsageReader({ sentAt });
  reader.addPiece(body);
  return reader.currentReport;
}

/**
 * Checks that a buffered answer may be returned to the caller.
 *
 * @throws ApiError for an error that only the operator can correct, and for something that is not an answer of the API
 */
export function requireAnswerForCaller({ kind, refusal }: Pick<BufferedResult, 'kind' | 'refusal'>): void {
  if (kind === 'interrupted') throw createInterruptedError(false);
  if (kind === 'nothing') throw createNotApiResponseError();
  if (!refusal) return;
  // The upstream's message is meant for the operator, so log it and throw the caller's own message.
  const isForOperator = refusal.kind === 'refused' || refusal.kind === 'unclear';
  if (isForOperator || refusal.forCaller.upstreamSaid !== undefined) throw refusal.forCaller;
}

/**
 * Creates the caller's response from a buffered answer.
 *
 * @param ownHeaders the edge's own headers. (Setting one later costs as much as creating the response with several.)
 * @throws ApiError as `requireAnswerForCaller`
 */
export function toCallerResponse(
  response: Pick<Response, 'status' | 'headers'>,
  { kind, body, refusal }: Pick<BufferedResult, 'kind' | 'body' | 'refusal'>,
  requestId: string,
  ownHeaders?: Record<string, string>,
): Response {
  requireAnswerForCaller({ kind, refusal });
  const { forCaller: error, isVerbatim = true } = refusal ?? {};
  if (error && !isVerbatim) {
    const headers = { ...error.headers, ...ownHeaders };
    return Response.json(createErrorBody(error, requestId), { status: error.status, headers });
  }
  const headers = Object.assign(toCallerHeaders(response.headers), ownHeaders);
  headers['content-type'] ??= 'application/json';
  return new Response(body, { status: error?.status ?? response.status, headers });
}

/** @returns whether a body begins like a JSON object but does not end like one, so that the rest has not arrived. */
function isTruncatedJson(body: Uint8Array): boolean {
  return readTrimmedStart(body).startsWith('{') && parseJsonObject(body) === undefined;
}

function readTrimmedStart(body: Uint8Array): string {
  return decoder.decode(body.subarray(0, START_BYTES)).trimStart();
}
