/**
 * Judges what an upstream has answered, or how a call of it has failed: for the caller, the operator, the bill and the next
 * try. Nothing but this, `upstream-error.ts` and `usage/api-sentences.ts` reads the words of its errors; of the statuses
 * `waitBeforeStepRetry` asks whether it was a 429.
 */

import { DAY_MS } from '../kit/async/durations.ts';
import {
  ApiError,
  createNonRetryableError,
  createRetryAfterHeader,
  createRetryableError,
  createUpstreamKeyRejectedError,
  type ErrorType,
  isErrorType,
} from '../kit/http/errors.ts';
import { maskSecrets } from '../kit/http/secrets.ts';
import { getMember } from '../kit/json/object.ts';
import { parseJsonOrUndefined } from '../kit/json/parse.ts';
import { NetworkFailure } from './call-network.ts';
import { isEventStream } from './content-type.ts';
import { doesCauseBlockDeployment } from './explain-rejected-key.ts';
import {
  createInterruptedError,
  createNetworkError,
  createNotApiResponseError,
  createRedirectError,
} from './failure.ts';
import { isHeaderTimeReasonable, parseWaitMs } from './headers.ts';
import {
  findMessage,
  getErrorCause,
  getStatusForErrorBody,
  parseLimitResetTime,
  parseUpstreamError,
  type UpstreamError,
} from './upstream-error.ts';
import { findStoredSentence, isStandardApiErrorMessage, isThinkingRejectionMessage } from './usage/api-sentences.ts';
import { isErrorBody } from './usage/usage-report.ts';

/** The meaning of an upstream's rejection, or of a failed call. */
export interface ClassifiedFailure {
  /**
   * `request`: the caller can correct it. `overloaded`: the upstream takes no more requests at the moment. `down`: it is
   * broken. `again`: it works, and requests to receive the same request again. `missing`: it does not have the model.
   * `refused`: it rejects this deployment, which only the operator can change. `unclear`: it rejects, and does not say in the
   * API's form whether this caller or the deployment; or it rejects only requests of this kind, for a reason that the operator
   * must fix.
   */
  kind: 'request' | 'overloaded' | 'down' | 'again' | 'missing' | 'refused' | 'unclear';
  /** The error as a caller may see it. */
  forCaller: ApiError;
  /** The `error_type` in the log and in the ledger. */
  forOperator: string;
  /** The API's own sentence in the error, for the ledger. Absent if there is none. */
  storedSentence?: string | undefined;
  /** Whether the caller may get the answer as it came, with the API's own words. */
  isVerbatim: boolean;
  /** Whether another upstream would say the same: the API publishes it. Default: no. */
  isPublished?: boolean;
  /** Whether it rejects thinking, which another upstream may have signed. */
  isAboutThinking?: boolean;
  /** Whether its words are a gateway's about its operator: a budget, a quota, a key. Then another request gets the same. */
  isOfOperator?: boolean;
  /** Milliseconds that the upstream requests to wait, or for which it is not tried. */
  waitMs: number | undefined;
  /** Whether the upstream may have worked on the request, and may bill it. */
  mayHaveRun: boolean;
}

/** `answer`: the upstream works. Whether the answer is complete is not judged here. */
export type ClassifiedResponse = ClassifiedFailure | { kind: 'answer'; mayHaveRun: true; waitMs?: undefined };

type ResponseStatusAndHeaders = Pick<Response, 'status' | 'headers'>;

interface FailureEvidence {
  /** The body, or its beginning; empty if it was not read. Only an error in it is read, and it may be the first of a stream. */
  text: string;
  /** Milliseconds from sending to the headers, or to the failure. If they came at once, the upstream did no work. */
  elapsedMs: number;
}

/** Milliseconds for which an upstream that rejects this deployment is not tried. A rejection does not change by itself. */
const REJECTED_MS = 30_000;
/** About the milliseconds that a connection takes. An attempt that fails sooner has failed before the request was sent. */
const CONNECT_MS = 50;
/** Statuses of a proxy that could not reach the upstream. */
const UNREACHABLE_STATUSES: ReadonlySet<number> = new Set([521, 523, 525, 526, 530]);
/** Statuses of a proxy that has stopped waiting. The upstream may still be working on the request. */
const GATEWAY_TIMEOUT_STATUSES: ReadonlySet<number> = new Set([408, 499]);
/** An error that a stream begins with, behind comments and pings. Behind some gateways it has no name. */
const ERROR_EVENT = /^(?:(?::.*|event: ?ping[\r\n]+data:.*)[\r\n]+)*(?:event: ?error[\r\n]+)?data: ?(.*)/;
const MAX_QUOTED_CHARACTERS = 300;
/** A month, which no spend limit is longer than. */
const MAX_SPEND_LIMIT_MS = 31 * DAY_MS;
/** The meaning of codes that status and type do not show, except those that stop the whole deployment. */
const KIND_BY_CODE: ReadonlyMap<string, ClassifiedFailure['kind']> = new Map([
  ['cmek_key_unreachable', 'overloaded'],
  ['cmek_context_unavailable', 'overloaded'],
  ['workspace_human_review_disabled', 'unclear'],
  ['storage_quota_exceeded', 'unclear'],
  ['skill_read_blocked_undecryptable', 'unclear'],
  ['sandbox_egress_restricted', 'unclear'],
  ['linked_organization_billing_unavailable', 'request'],
  ['linked_organization_spend_limit_reached', 'request'],
  ['user_profile_billing_not_authorized', 'request'],
  ['user_profile_not_billable', 'request'],
]);
/**
 * Words of a 403 about this deployment: its key, its users, or an id of the operator. The API has one error type for these and
 * for the caller's own errors, so only the message distinguishes them. If it is not clear, the caller gets no details.
 */
const DEPLOYMENT_WORDS =
  /\b(key|oauth|bearer|credentials?|access token|authenticat\w*|authori[sz]\w*|billing|credits?|subscription|disabled|suspended|workspace|ip address|countr(y|ies)|region|iam|arn)\b|sk-ant-|\b[0-9a-f]{8}-[0-9a-f]{4}-/i;
/** Further words of gateways by which a rejection is about their operator. */
const OPERATOR_WORDS = /budget(?!_tokens)|quota|organi[sz]ation|\borg[-_]|api.?key|_key\b/i;
/** The types for errors without one. Other statuses have `api_error`, or `invalid_request_error` if it is the caller's. */
const TYPE_BY_STATUS: ReadonlyMap<number, ErrorType> = new Map([
  [404, 'not_found_error'],
  [409, 'conflict_error'],
  [413, 'request_too_large'],
  [504, 'timeout_error'],
  [529, 'overloaded_error'],
]);
/** The headers of the upstream that the caller gets with an error of this edge. */
const FORWARDED_HEADERS = ['retry-after', 'retry-after-ms', 'x-should-retry', 'request-id'];

/** Judges what a call has thrown, or an answer of the upstream. */
export function classifyFailure(head: { thrown: unknown }, evidence: FailureEvidence): ClassifiedFailure;
export function classifyFailure(head: ResponseStatusAndHeaders, evidence: FailureEvidence): ClassifiedResponse;
export function classifyFailure(
  head: ResponseStatusAndHeaders | { thrown: unknown },
  { text, elapsedMs }: FailureEvidence,
): ClassifiedResponse {
  if ('thrown' in head) {
    const mayHaveRun = couldHaveReachedUpstream(head.thrown, elapsedMs);
    return createDownFailure(
      head.thrown instanceof ApiError ? head.thrown : createNetworkError(head.thrown),
      mayHaveRun,
    );
  }
  const { headers } = head;
  const isSuccess = head.status < 300;
  const body = parseErrorBody(text, isSuccess);
  if (isSuccess && body === undefined)
    return isHtmlPage(head, text)
      ? createDownFailure(createNotApiResponseError(), false)
      : { kind: 'answer', mayHaveRun: true };
  const error = getMember(body, 'type') === 'error' ? parseUpstreamError(body) : undefined;
  // An upstream may send an error body with a success status; then derive the status from the body's error type.
  const status = isSuccess ? getStatusForErrorBody(body) : head.status;
  const kind = classifyErrorKind(status, headers, error);
  const isOfOperator = kind === 'refused' || kind === 'unclear';
  const words = kind === 'request' ? findMessage(body) : '';
  const forCaller = isOfOperator
    ? createOperatorError(status, error, text)
    : createCallerError(kind, status, headers, error, words);
  const isHidden = isOfOperator || forCaller.upstreamSaid !== undefined;
  return {
    kind,
    forCaller,
    forOperator: forCaller.logged,
    storedSentence: error && findStoredSentence(error.message),
    // Rewrite an incomplete error, or one sent with a success status, in the API's form instead of forwarding it as received.
    isVerbatim: error !== undefined && error.message !== '' && !isSuccess && !isHidden && status !== 429,
    isOfOperator: isOfOperator || OPERATOR_WORDS.test(words) || (error === undefined && DEPLOYMENT_WORDS.test(words)),
    isAboutThinking: isThinkingRejectionMessage(words),
    isPublished: isStandardApiErrorMessage(words) || (error?.code.startsWith('compaction_') ?? false),
    waitMs: isOfOperator ? REJECTED_MS : parseRetryAfterMs(headers),
    mayHaveRun: isPossiblyExecuted(head, error !== undefined, elapsedMs),
  };
}

/**
 * @returns the classification of a response that is a rejection; undefined for any other response. @param elapsedMs as in
 * `FailureEvidence`
 */
export function classifyIfFailed(
  head: ResponseStatusAndHeaders,
  text: string,
  elapsedMs = 0,
): ClassifiedFailure | undefined {
  const judged = classifyFailure(head, { text, elapsedMs });
  return judged.kind === 'answer' ? undefined : judged;
}

/** @returns the error of an event in a stream, as its caller may see it. */
export function createCallerErrorFromEvent(data: string): ApiError {
  return classifyIfFailed(new Response(), data)?.forCaller ?? createInterruptedError(false);
}

/** @returns whether there is no answer, or only that of a proxy that could not reach the upstream. */
export function hasNotReachedUpstream(answer: Pick<Response, 'status'> | undefined): boolean {
  return answer === undefined || UNREACHABLE_STATUSES.has(answer.status);
}

export function toMissingModelFailure(refusal: ClassifiedFailure): ClassifiedFailure {
  return { ...refusal, kind: 'missing', waitMs: REJECTED_MS };
}

function createDownFailure(forCaller: ApiError, mayHaveRun: boolean): ClassifiedFailure {
  return { kind: 'down', forCaller, forOperator: forCaller.logged, isVerbatim: false, waitMs: undefined, mayHaveRun };
}

function classifyErrorKind(
  status: number,
  headers: Headers,
  error: UpstreamError | undefined,
): ClassifiedFailure['kind'] {
  // Classify by the error's code first: it identifies the cause more reliably than the status or the message.
  const cause = error ? getErrorCause(error) : '';
  if (doesCauseBlockDeployment(cause)) return 'refused';
  const kind = KIND_BY_CODE.get(cause);
  if (kind) return kind;
  if (status === 429 || status === 529 || status === 503) return 'overloaded';
  if (status === 408 || status >= 500) return 'down';
  if (status === 402) return 'refused';
  if (status === 401 || status === 403 || status < 400) {
    const { type, message = '' } = error ?? {};
    const isAboutKey = message.trim() === '' || DEPLOYMENT_WORDS.test(message);
    if (status === 403 && type === 'permission_error' && !isAboutKey) return 'request';
    return type === 'authentication_error' || type === 'permission_error' ? 'refused' : 'unclear';
  }
  return status === 409 || headers.get('x-should-retry') === 'true' ? 'again' : 'request';
}

/** @returns the body of a rejection, or the error if a body or a stream contains nothing else; otherwise undefined */
function parseErrorBody(text: string, isSuccess: boolean): unknown {
  const [, data = text] = ERROR_EVENT.exec(text) ?? [];
  // Skip parsing the large bodies of successful responses: an error body contains `"error"`.
  if (isSuccess && !/"error"/.test(data)) return undefined;
  const body = parseJsonOrUndefined(data);
  return !isSuccess || isErrorBody(body) ? body : undefined;
}

/** @returns whether something between here and the API has answered with a page. */
function isHtmlPage(answer: ResponseStatusAndHeaders, text: string): boolean {
  return !isEventStream(answer) && !/^\s*(?:\{|$)/.test(text);
}

/** @returns the error that hides a rejection which only the operator can correct. Its log line has the upstream's words. */
function createOperatorError(status: number, error: UpstreamError | undefined, body: string): ApiError {
  if (status >= 300 && status < 400) return createRedirectError();
  const upstreamSaid = describeForOperator(status, error, body);
  const now = Date.now();
  const end = (error && parseLimitResetTime(error, now)) ?? 0;
  if (!(end > now && end - now <= MAX_SPEND_LIMIT_MS)) return createUpstreamKeyRejectedError(upstreamSaid);
  const headers = { ...createRetryAfterHeader(Math.ceil((end - now) / 1_000)), 'sluice-limited-by': 'upstream' };
  const until = new Date(end).toISOString();
  const message = `The upstream rejects requests of this deployment until ${until}. The operator can find the reason in the log.`;
  return createNonRetryableError('billing_error', message, { headers, logged: 'upstream_auth', upstreamSaid });
}

/** @returns what only the operator gets: status, type, code, and the upstream's words. */
function describeForOperator(status: number, error: UpstreamError | undefined, body = ''): string {
  const words = error ? `${[error.type, error.code].join(' ').trim()}: ${error.message}` : maskSecrets(body);
  return `${status} ${words}`.slice(0, MAX_QUOTED_CHARACTERS);
}

/** @returns the error of a rejection that the caller may see, in the API's own words if there are any. */
function createCallerError(
  kind: ClassifiedFailure['kind'],
  status: number,
  headers: Headers,
  error: UpstreamError | undefined,
  words: string,
): ApiError {
  const passed: Record<string, string> = {};
  for (const name of FORWARDED_HEADERS) {
    const value = headers.get(name);
    if (value !== null && isHeaderTimeReasonable(name, value)) passed[name] = maskSecrets(value);
  }
  if (status === 429) {
    // Replace the upstream's message: it names the operator's organization and limits, which callers must not see.
    const seconds = Number(passed['retry-after'] ?? Number.NaN);
    const when = seconds > 0 ? `in ${Math.ceil(seconds)} s` : 'in a moment';
    const message = `The upstream limits the requests of this deployment at the moment. Try again ${when}.`;
    return new ApiError('rate_limit_error', message, { headers: { ...passed, 'sluice-limited-by': 'upstream' } });
  }
  if (error && KIND_BY_CODE.get(error.code) === 'overloaded') {
    const message = 'The upstream cannot process requests of this deployment at the moment. Try again in a moment.';
    return createRetryableError(message, `upstream_${status}`, {
      headers: passed,
      upstreamSaid: describeForOperator(status, error),
    });
  }
  const byStatus = TYPE_BY_STATUS.get(status) ?? (kind === 'request' ? 'invalid_request_error' : 'api_error');
  // An upstream may put any text into `error.type`, even part of the request, so keep it only if it is one of the API's types.
  const type = error && isErrorType(error.type) ? error.type : undefined;
  const isOpen = !(DEPLOYMENT_WORDS.test(words) || OPERATOR_WORDS.test(words));
  const message =
    error?.message ||
    (isOpen && words) ||
    `The upstream responded with ${status} without an explanation. If this persists, give the operator the request id.`;
  return new ApiError(type ?? byStatus, message, { status, headers: passed, logged: type ?? `upstream_${status}` });
}

/**
 * Decides whether a request without an answer may have reached the upstream. Where it is not known whether the body was taken,
 * the time decides, because the runtime throws the same error for a refused connection and for one that broke later. Only
 * failures of DNS and TLS have errors of their own; they happen before anything is sent.
 */
function couldHaveReachedUpstream(failure: unknown, elapsedMs: number): boolean {
  if (failure instanceof NetworkFailure) return failure.isSent;
  if (elapsedMs <= CONNECT_MS) return false;
  return !(failure instanceof Error && /\b(DNS|TLS|SSL|certificate)\b/i.test(failure.message));
}

/** Decides whether a request that was answered with an error may have run. The API itself bills no errors. */
function isPossiblyExecuted(
  { status, headers }: ResponseStatusAndHeaders,
  isOfApi: boolean,
  elapsedMs: number,
): boolean {
  if (elapsedMs <= CONNECT_MS || isOfApi || headers.has('request-id')) return false;
  return GATEWAY_TIMEOUT_STATUSES.has(status) || (status >= 500 && !UNREACHABLE_STATUSES.has(status));
}

/** @returns the milliseconds that an upstream requests to wait; undefined if it requests none, or an unreasonable time. */
function parseRetryAfterMs(headers: Headers): number | undefined {
  const waits = [parseWaitMs(headers.get('retry-after-ms'), 1), parseWaitMs(headers.get('retry-after'), 1_000)];
  return waits.find((wait) => wait !== undefined);
}
