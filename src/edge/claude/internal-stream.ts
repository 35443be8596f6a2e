/** Reads an internally streamed response: the caller receives the whole message, or its error. */

import { runInSteps, type SteppedWork } from '../kit/async/run-in-steps.ts';
import { resolveWithin } from '../kit/async/timeout.ts';
import { joinPieces } from '../kit/http/body-pieces.ts';
import { encoder, encodeUtf8 } from '../kit/http/bytes.ts';
import { maskSecretsInBytes } from '../kit/http/secrets.ts';
import { parseJsonObject } from '../kit/json/object.ts';
import type { BufferedResult } from './buffered-response.ts';
import { classifyIfFailed } from './classify-failure.ts';
import type { UpstreamExchange } from './exchange.ts';
import {
  createHeadersTimeoutError,
  createInterruptedError,
  createSizeGuard,
  getRequestEndOfError,
  toInterruptedError,
} from './failure.ts';
import { createOutputDeadline } from './keep-alive.ts';
import { COPY_READ_INTERVAL_MS } from './relay/forward-stream.ts';
import {
  pipeStreamToLateReader,
  readTeeCopyToEnd,
  returnPooledBuffer,
  SMALL_PIECE_BYTES,
  type StreamReadResult,
} from './relay/tee-reader.ts';
import { CLOSE_WAIT_MS } from './stream.ts';
import { UsageReader, type UsageReaderOptions } from './usage/usage-reader.ts';
import { hasObservedOutput, type ResponseReport } from './usage/usage-report.ts';
import { StreamedMessageJson } from './whole-message.ts';

/** The characters of a message that are encoded without a break. */
const STEP_LENGTH = 1_048_576;
/** The headers of a stream that a whole answer does not have. */
const STREAM_ONLY_HEADERS = ['cache-control', 'x-accel-buffering'];

/**
 * Reads a stream to its end, and puts its message together.
 *
 * @param exchange its `seen` is what has been observed, by which an incomplete answer is settled
 * @throws UpstreamFailure when the stream breaks off, falls silent or is malformed; the controller's reason when it was aborted
 */
export async function readStreamAsWholeMessage(
  response: Response,
  body: ReadableStream<Uint8Array>,
  exchange: UpstreamExchange,
  reading: UsageReaderOptions,
): Promise<BufferedResult> {
  const { controller, progress, watchdog } = exchange;
  const usage = new UsageReader(reading);
  const message = new StreamedMessageJson();
  exchange.reportSoFar = () => usage.currentReport;
  exchange.startBodyIdleTimeout();
  watchdog.setDeadline(createOutputDeadline(reading.sentAt ?? exchange.startedAt, () => usage.lastOutputAt));
  const takeSize = createSizeGuard();
  const appendStreamPiece = (piece: Uint8Array, _isAll = true, since = Date.now()) => {
    watchdog.restartIdleTime();
    takeSize(piece);
    usage.addPiece(piece, false, Date.now(), since);
    message.addPiece(piece);
    return message.hasEnded;
  };
  try {
    // Read the first piece at once: its `message_start` reports the prompt's tokens, from which the request is priced if it is
    // interrupted.
    const opening = progress.opening ?? (await readFirstSmallPiece(body));
    if (opening && !appendStreamPiece(opening))
      await readStreamInLargePieces(body, Math.min(COPY_READ_INTERVAL_MS, watchdog.idleLimitMs / 4), appendStreamPiece);
    if (progress.opening) returnPooledBuffer(progress.opening);
    message.endStream();
  } catch (thrown) {
    const { aborted, reason } = controller.signal;
    // Abort the upstream: a malformed or endless stream would otherwise continue and be billed.
    if (!aborted) controller.abort(createInterruptedError(false));
    // Nothing was returned to the caller yet, so respond with the timeout error of a non-streaming request.
    if (aborted && getRequestEndOfError(reason) === 'silent' && usage.lastOutputAt === undefined)
      throw createHeadersTimeoutError();
    throw aborted ? reason : toInterruptedError(thrown);
  } finally {
    watchdog.stopWatching();
  }
  if (message.error !== undefined)
    return createErrorEventResult(response, message.error, usage.currentReport, exchange);
  if (!message.isComplete) throw createInterruptedError(false);
  exchange.recordHealth(undefined);
  const written = await runInSteps(encodeTextParts(message.writeJsonParts()));
  return {
    kind: 'answer',
    body: written,
    json: undefined,
    report: usage.completeStreamReport ?? usage.currentReport,
    refusal: undefined,
  };
}

/** @returns the first piece of a stream; undefined if it has none */
async function readFirstSmallPiece(body: ReadableStream<Uint8Array>): Promise<Uint8Array | undefined> {
  const reader = body.getReader({ mode: 'byob' });
  const { value }: StreamReadResult = await reader.read(new Uint8Array(new ArrayBuffer(SMALL_PIECE_BYTES)));
  reader.releaseLock();
  return value && value.length > 0 ? value : undefined;
}

/**
 * Reads a stream in large pieces. The runtime itself fetches the pieces as they arrive, and JavaScript reads a copy, late: to
 * read each event as it arrives would cost several times as much, and to wait for many bytes would hide a silence.
 */
async function readStreamInLargePieces(
  body: ReadableStream<Uint8Array>,
  waitMs: number,
  take: (piece: Uint8Array, isAll: boolean, since: number) => boolean,
): Promise<void> {
  const [stream, copy] = body.tee();
  const { reader, whole } = pipeStreamToLateReader(stream);
  const late = copy.getReader({ mode: 'byob' });
  await readTeeCopyToEnd(late, whole, waitMs, take);
  if ((await resolveWithin(whole, CLOSE_WAIT_MS)) === undefined)
    for (const one of [late, reader]) one.cancel().catch(ignoreCancelError);
}

/** Ignores the error of cancelling a stream that has ended or broken meanwhile: the answer is complete. */
function ignoreCancelError(): void {}

/** Encodes parts of a text together. */
function* encodeTextParts(parts: Iterable<string>): SteppedWork<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let text = '';
  for (const part of parts) {
    text += part;
    if (text.length < STEP_LENGTH) continue;
    pieces.push(encoder.encode(text));
    text = '';
    yield STEP_LENGTH;
  }
  pieces.push(encoder.encode(text));
  return joinPieces(pieces);
}

/** @returns the answer for an `error` event. What came before it is settled as that of a stream */
function createErrorEventResult(
  response: Response,
  error: string,
  report: ResponseReport,
  exchange: UpstreamExchange,
): BufferedResult {
  const refusal = classifyIfFailed(response, error);
  if (!refusal) throw createInterruptedError(false);
  exchange.recordHealth(refusal);
  // The stream contained only an error event, so the model has not run and nothing is billed.
  if (!report.usage && !hasObservedOutput(report.seen)) exchange.progress.sentAt = undefined;
  const body = maskSecretsInBytes(encodeUtf8(error));
  return {
    kind: 'error',
    body,
    json: parseJsonObject(body),
    report: { ...report, error_type: refusal.forOperator },
    refusal,
  };
}

/** @returns the head of the whole answer that a stream has become. */
export function toHeadOfWholeResponse({ status, headers }: Response): Pick<Response, 'status' | 'headers'> {
  const whole = new Headers(headers);
  for (const name of STREAM_ONLY_HEADERS) whole.delete(name);
  whole.set('content-type', 'application/json');
  return { status, headers: whole };
}
