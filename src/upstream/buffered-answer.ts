/**
 * Reads answers that do not stream. They are read to their end before anything is sent: half a JSON body would look
 * complete.
 */

import { IdleTimeout } from '../async/idle-timeout.ts';
import { joinedPieces } from '../http/body-pieces.ts';
import { decoder } from '../http/bytes.ts';
import { errorBody, statusOfType, upstreamRefusedKey } from '../http/errors.ts';
import { maskedBytes } from '../http/secrets.ts';
import { type Json, parseObject } from '../json/object.ts';
import { isAboutRequest } from './error-blame.ts';
import { interrupted, redirected, typeOfStatus, UpstreamFailure } from './failure.ts';
import { headersDown } from './headers.ts';
import { describeRefusal, explainRefusal } from './refused-key.ts';
import { mayHaveRun } from './retry.ts';
import type { SendProgress } from './send-request.ts';
import { keepBuffer, takeBuffer } from './tee-reader.ts';
import { upstreamLimited } from './upstream-limit.ts';
import { type Report, reportOf } from './usage/usage-report.ts';

/** An answer must begin within this many bytes. There may be white space before it. */
const START_BYTES = 1_024;

/**
 * Reads a body to its end.
 *
 * @param idleMs milliseconds of silence after which the controller is aborted
 * @param watchdog an existing one that takes over this silence. It is stopped at the end. Default: a new one
 * @throws UpstreamFailure when the body breaks off or falls silent; the controller's reason when it was aborted
 */
export async function readBuffered(
  response: Response,
  idleMs: number,
  controller: AbortController,
  watchdog = new IdleTimeout(controller, idleMs, idleMs, () => interrupted(true)),
): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  watchdog.expect(idleMs, () => interrupted(true));
  const take = (piece: Uint8Array) => {
    watchdog.touch();
    pieces.push(piece);
  };
  try {
    if (response.body) await takePieces(response.body, take);
  } catch (thrown) {
    throw controller.signal.aborted ? controller.signal.reason : interrupted(false, thrown);
  } finally {
    watchdog.stop();
  }
  return pieces.length === 1 && pieces[0] ? pieces[0] : joinedPieces(pieces);
}

/** Reads a stream to its end. (To iterate over a stream costs several times as much as to read it.) */
async function takePieces(body: ReadableStream<Uint8Array>, take: (piece: Uint8Array) => void): Promise<void> {
  const reader = bytesReaderOf(body);
  if (!reader) {
    const chunks = body.getReader();
    for (let next = await chunks.read(); !next.done; next = await chunks.read()) take(next.value);
    return;
  }
  for (let buffer = takeBuffer(); ; ) {
    const { value, done } = await reader.read(new Uint8Array(buffer));
    if (value) buffer = value.buffer as ArrayBuffer;
    if (done || !value) {
      keepBuffer(new Uint8Array(buffer));
      return;
    }
    // A copy, because the buffer is reused.
    take(value.slice());
  }
}

/** @returns a reader that fills given buffers; undefined for a stream of chunks, as JavaScript makes them. */
function bytesReaderOf(body: ReadableStream<Uint8Array>): ReadableStreamBYOBReader | undefined {
  try {
    return body.getReader({ mode: 'byob' });
  } catch {
    return undefined;
  }
}

/**
 * What a buffered answer is: the requested answer; an error, in the API's form or with the status of an error; the beginning
 * of an answer whose rest has not come; or something that the API would not send.
 */
type BufferedKind = 'answer' | 'error' | 'interrupted' | 'nothing';

/** A buffered answer, read to its end and judged. */
export interface BufferedAnswer {
  kind: BufferedKind;
  body: Uint8Array;
  /** The body as a JSON object; undefined if it is not a JSON object. */
  json: Json | undefined;
  report: Report;
}

export interface ReadAnswerOptions {
  /** Milliseconds of silence after which the answer counts as interrupted. */
  idleMs: number;
  /** Aborted after such a silence. Aborting it from elsewhere ends the reading, too. */
  controller: AbortController;
  /** Its `sentAt` becomes undefined if the upstream cannot have worked on the request. Then nothing is billed. */
  course: SendProgress;
  /** Whether only a message or an error counts as an answer. */
  expected: 'message' | 'anything';
  /** As of `readBuffered`. */
  watchdog?: IdleTimeout | undefined;
}

/**
 * Reads a buffered answer, and decides what it is and whether the upstream bills it.
 *
 * @throws ApiError when the body breaks or stalls, or the controller's reason when it was aborted
 */
export async function readAnswer(
  response: Response,
  { idleMs, controller, course, expected, watchdog }: ReadAnswerOptions,
): Promise<BufferedAnswer> {
  const { elapsedMs = 0 } = course;
  // This is needed even if the body breaks off: then nobody can tell whether it was an error of the API.
  if (!response.ok && !mayHaveRun(response, { isApiError: false, elapsedMs })) course.sentAt = undefined;
  let body = await readBuffered(response, idleMs, controller, watchdog);
  let json = parseObject(body);
  if (!response.ok || json?.type === 'error') {
    body = maskedBytes(body);
    json = parseObject(body);
  }
  const report = reportOf(json, body.length);
  const isApiError = report.error_type !== undefined;
  const kind = response.ok ? successKind(body, json, report, expected) : 'error';
  // The API has not worked on a request if something else answered, or if it answered at once with an error.
  const isUnbilled = response.ok
    ? kind === 'error' || kind === 'nothing'
    : !mayHaveRun(response, { isApiError, elapsedMs });
  if (isUnbilled) course.sentAt = undefined;
  return { kind, body, json, report };
}

/** @returns the kind of an answer with the status of a success. */
function successKind(
  body: Uint8Array,
  json: Json | undefined,
  report: Report,
  expected: ReadAnswerOptions['expected'],
): BufferedKind {
  if (expected === 'anything') return json === undefined ? 'interrupted' : 'answer';
  if (report.completed) return 'answer';
  if (isBeginning(body)) return 'interrupted';
  return report.error_type === undefined ? 'nothing' : 'error';
}

interface BufferedOptions {
  /** Whether clients can read the body: a JSON object with the status of a success, or an error in the API's form. */
  isReadable: boolean;
  /** Whether only a message or an error counts as an answer. */
  expected: 'message' | 'anything';
  /** The type of the error in the body; undefined if the body is not an error of the API. */
  errorType: string | undefined;
  requestId: string;
  /** Whether the caller is the operator. Only the operator may see why the upstream refuses the deployment's key. */
  isOperator?: boolean;
  /** The body as a JSON object, if it has been parsed. Default: it is parsed here. */
  json?: Json | undefined;
  /**
   * Called when it is certain that the caller gets the answer. (To set one header of a response costs as much as several
   * headers with which it is made.)
   *
   * @param ok whether the answer has the status of a success
   * @returns the edge's own headers of the answer. Default: none
   */
  ownHeaders?(ok: boolean): Record<string, string> | undefined;
}

/**
 * Makes the caller's response from a buffered answer.
 *
 * @throws ApiError for an error that the caller must not see as it is, and for something that is not an answer of the API
 */
export function bufferedResponse(
  response: Response,
  body: Uint8Array,
  { isReadable, expected, errorType, requestId, isOperator = false, json, ownHeaders }: BufferedOptions,
): Response {
  const isMessage = expected === 'anything' || (json ?? parseObject(body))?.type === 'message';
  if (response.ok && !isReadable) throw isBeginning(body) ? interrupted(false) : notTheApi();
  // An error in the API's form may come with the status of a success. Then its type says which status is right.
  const status = response.ok && errorType !== undefined ? statusOfType(errorType) : response.status;
  if (status === 401 || status === 402 || (status === 403 && !isAboutRequest(body))) {
    throw upstreamRefusedKey(describeRefusal(status, body), isOperator ? explainRefusal(status, body) : undefined);
  }
  if (status >= 300 && status < 400) throw redirected();
  if (status < 300 && !isMessage) throw notTheApi();
  if (status === 429) {
    const error = upstreamLimited(response.headers);
    const headers = { ...error.headers, ...ownHeaders?.(false) };
    return Response.json(errorBody(error, requestId), { status: error.status, headers });
  }
  const headers = Object.assign(headersDown(response.headers), ownHeaders?.(status < 300));
  headers['content-type'] ??= 'application/json';
  if (isReadable) return new Response(body, { status, headers });
  // Something between here and the API has answered. Its text is replaced by an error that clients can read.
  headers['content-type'] = 'application/json';
  const type = typeOfStatus(status) ?? (status < 500 ? 'invalid_request_error' : 'api_error');
  const error = { type, message: `The upstream answered ${status} without an explanation.` };
  return Response.json({ type: 'error', error, request_id: requestId }, { status, headers });
}

/** @returns whether a body begins like a JSON object but does not end like one, so that the rest has not come. */
function isBeginning(body: Uint8Array): boolean {
  return decoder.decode(body.subarray(0, START_BYTES)).trimStart().startsWith('{') && parseObject(body) === undefined;
}

/** @returns the error for the status of a success without a message: something other than the API has answered. */
export function notTheApi(): UpstreamFailure {
  return new UpstreamFailure(
    'api_error',
    'What answered in the place of the upstream is not the Claude API. Its operator must check ANTHROPIC_BASE_URL.',
    { sent: false, end: 'cut', logged: 'upstream_no_answer' },
  );
}
