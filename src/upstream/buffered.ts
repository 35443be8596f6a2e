/** Answers that do not stream: read whole before anything is sent, since a cut JSON body would look complete. */

import { IdleTimeout } from '../async/idle-timeout.ts';
import { decoder, joined } from '../http/bytes.ts';
import { errorResponse, statusOfType, upstreamRefusedKey } from '../http/errors.ts';
import { type Json, parseObject } from '../json/object.ts';
import { isAboutRequest } from './error-blame.ts';
import { interrupted, redirected, UpstreamFailure } from './failure.ts';
import { headersDown } from './headers.ts';
import { mayHaveRun, type SendProgress } from './send.ts';
import { upstreamLimited } from './upstream-limit.ts';
import { type Report, reportOf } from './usage/usage-report.ts';

/** Bytes within which an answer begins, white space before it included. */
const LOOKED_AT = 1_024;

/** @throws ApiError when the body breaks or stalls: a cut JSON body would look complete */
export async function readBuffered(
  response: Response,
  idleMs: number,
  controller: AbortController,
): Promise<Uint8Array> {
  if (!response.body) return new Uint8Array(0);
  const watchdog = new IdleTimeout(controller, idleMs, idleMs, () => interrupted(true));
  const pieces: Uint8Array[] = [];
  try {
    for await (const piece of response.body) {
      watchdog.touch();
      pieces.push(piece);
    }
  } catch (thrown) {
    throw controller.signal.aborted ? controller.signal.reason : interrupted(false, thrown);
  } finally {
    watchdog.stop();
  }
  const [only] = pieces;
  if (only && pieces.length === 1) return only;
  return joined(...pieces);
}

/**
 * What a buffered answer is: what was asked for; an error, in the API's form or with an error's status; the beginning of
 * an answer whose rest has not come; or nothing that the API would say.
 */
export type BufferedKind = 'answer' | 'error' | 'interrupted' | 'nothing';

/** A buffered answer, read to its end and judged. */
export interface BufferedAnswer {
  kind: BufferedKind;
  body: Uint8Array;
  /** The body as a JSON object; undefined if it is none. */
  json: Json | undefined;
  report: Report;
}

export interface ReadAnswerOptions {
  /** Milliseconds of silence after which the answer counts as interrupted. */
  idleMs: number;
  /** Aborted by the silence; whoever aborts it ends the reading. */
  controller: AbortController;
  /** Its `sentAt` becomes undefined when the upstream cannot have worked on the request: then nothing is billed. */
  course: SendProgress;
  /** Whether only a message, or an error, is an answer. */
  expected: 'message' | 'anything';
}

/**
 * Reads a buffered answer, and decides what it is and whether the upstream bills it.
 *
 * @throws ApiError when the body breaks or stalls, or the controller's reason when it was aborted
 */
export async function readAnswer(
  response: Response,
  { idleMs, controller, course, expected }: ReadAnswerOptions,
): Promise<BufferedAnswer> {
  const { elapsedMs = 0 } = course;
  // This holds also if the body breaks: then nobody will know whether it was an error of the API.
  if (!response.ok && !mayHaveRun(response, { isApiError: false, elapsedMs })) course.sentAt = undefined;
  const body = await readBuffered(response, idleMs, controller);
  const json = parseObject(body);
  const report = reportOf(json, body.length);
  const isApiError = report.error_type !== undefined;
  const kind = response.ok ? successKind(body, json, report, expected) : 'error';
  // The API has not worked on a request that something else answered, or that it answered with an error at once.
  const isUnbilled = response.ok
    ? kind === 'error' || kind === 'nothing'
    : !mayHaveRun(response, { isApiError, elapsedMs });
  if (isUnbilled) course.sentAt = undefined;
  return { kind, body, json, report };
}

/** @returns what an answer is that has a success's status. */
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
  /** Whether it is a JSON object, or an error as the API writes it. */
  isReadable: boolean;
  /** Whether nothing but a message, or an error, is an answer. */
  expected: 'message' | 'anything';
  /** The type of the error that it is. */
  errorType: string | undefined;
  requestId: string;
}

/** @throws ApiError for what the caller must not see as it is, or what is no answer of the API */
export function bufferedResponse(
  response: Response,
  body: Uint8Array,
  { isReadable, expected, errorType, requestId }: BufferedOptions,
): Response {
  const isMessage = expected === 'anything' || isMessageText(body);
  if (response.ok && !isReadable) throw expected === 'message' && !isBeginning(body) ? notTheApi() : interrupted(false);
  // An error that calls itself a success is the error that it says.
  const status = response.ok && errorType !== undefined ? statusOfType(errorType) : response.status;
  if (status === 401 || status === 402 || (status === 403 && !isAboutRequest(body))) throw upstreamRefusedKey();
  if (status >= 300 && status < 400) throw redirected();
  if (status < 300 && !isMessage) throw notTheApi();
  if (status === 429) return errorResponse(upstreamLimited(response.headers), requestId);
  const headers = headersDown(response.headers);
  headers['content-type'] ??= 'application/json';
  if (isReadable) return new Response(body, { status, headers });
  // Not the API's words but those of something before it: the envelope is what clients can read.
  headers['content-type'] = 'application/json';
  const error = { type: typeOfStatus(status), message: `The upstream answered ${status} without an explanation.` };
  return Response.json({ type: 'error', error, request_id: requestId }, { status, headers });
}

/** @returns whether something that is no JSON object begins as one: it was cut, however cleanly it ended. */
export function isBeginning(body: Uint8Array): boolean {
  return decoder.decode(body.subarray(0, LOOKED_AT)).trimStart().startsWith('{') && parseObject(body) === undefined;
}

function isMessageText(body: Uint8Array): boolean {
  return parseObject(body)?.type === 'message';
}

/** @returns the error for a success without a message: whatever answered, it was not the API. */
export function notTheApi(): UpstreamFailure {
  return new UpstreamFailure(
    'api_error',
    'What answered in the place of the upstream is not the Claude API. Its operator must check ANTHROPIC_BASE_URL.',
    { sent: false, end: 'cut', logged: 'upstream_no_answer' },
  );
}

function typeOfStatus(status: number): string {
  if (status === 404) return 'not_found_error';
  if (status === 413) return 'request_too_large';
  if (status === 529) return 'overloaded_error';
  if (status === 504) return 'timeout_error';
  return status < 500 ? 'invalid_request_error' : 'api_error';
}
