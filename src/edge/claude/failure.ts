/** The errors of a response that does not arrive, or is incomplete. */
import { ApiError, createNonRetryableError, type ErrorType } from '../kit/http/errors.ts';
import { maskSecrets } from '../kit/http/secrets.ts';
import { NetworkFailure } from './call-network.ts';
import { MAX_BUFFERED_RESPONSE_BYTES } from './relay/tee-reader.ts';

/** Where an operator writes the address of an upstream. */
const ADDRESS_HINT = 'ANTHROPIC_BASE_URL, or `base_url` in UPSTREAMS';

interface FailureOptions {
  end: 'cut' | 'silent' | 'client_gone';
  logged: string;
  cause?: unknown;
}

/** A call of the upstream that did not end as the API ends calls. Its members decide what it costs, never its message. */
export class UpstreamFailure extends ApiError {
  readonly end: FailureOptions['end'];

  constructor(type: ErrorType, message: string, { end, logged, cause }: FailureOptions) {
    super(type, message, { logged, cause });
    this.end = end;
  }
}

/** @returns the error for an answer that broke off, or fell silent, before its end. */
export function createInterruptedError(silent: boolean, cause?: unknown): UpstreamFailure {
  const message = silent
    ? 'The upstream stopped sending before the response was complete. The part that you received is valid. Send the request again for a complete response.'
    : 'The connection to the upstream broke before the response was complete. Send the request again for a complete response.';
  const end = silent ? 'silent' : 'cut';
  return new UpstreamFailure('api_error', message, { end, logged: `upstream_${end}`, cause });
}

/** An answer of which more came than is kept. It ends there, as one that broke off. */
class ResponseTooLongError extends UpstreamFailure {
  constructor() {
    const message =
      'The response is longer than 16 MB and was cut off there. The part that you received is valid. Request less, or stream the response without a conversation.';
    super('api_error', message, { end: 'cut', logged: 'upstream_cut' });
  }
}

/** @returns the error for a response with an event that cannot be read: it ends there */
export function createUnreadableError(cause?: unknown): UpstreamFailure {
  const message =
    'The upstream sent an event that is not JSON, so the response ended there. Send the request again for a complete response.';
  return new UpstreamFailure('api_error', message, { end: 'cut', logged: 'upstream_unreadable', cause });
}

/** @returns the error for an answer that broke off, was too long, or cannot be read. @param thrown what its reading has thrown */
export function toInterruptedError(thrown: unknown): UpstreamFailure {
  if (thrown instanceof SyntaxError) return createUnreadableError(thrown);
  return thrown instanceof ResponseTooLongError ? thrown : createInterruptedError(false, thrown);
}

/** @returns a function that takes each piece of an answer, and throws where it is too long: there it ends, as one that broke off */
export function createSizeGuard(): (piece: Uint8Array) => void {
  let left = MAX_BUFFERED_RESPONSE_BYTES;
  return ({ length }) => {
    left -= length;
    if (left < 0) throw new ResponseTooLongError();
  };
}

/** @returns the reason for aborting a call whose caller has left. */
export function createCallerLeftError(): UpstreamFailure {
  const message = 'The caller disconnected before the response ended.';
  return new UpstreamFailure('api_error', message, { end: 'client_gone', logged: 'client_gone' });
}

/** @returns the error for an upstream whose headers did not arrive in time. */
export function createHeadersTimeoutError(): UpstreamFailure {
  const message = 'The upstream did not respond in time. Try again, or stream the response.';
  return new UpstreamFailure('timeout_error', message, { end: 'cut', logged: 'upstream_timeout' });
}

/**
 * @returns the error for a call that the network failed. The runtime reports headers that it cannot parse like a connection that
 *   broke, so the error for a request that was sent names both causes
 */
export function createNetworkError(cause: unknown): UpstreamFailure {
  if (cause instanceof NetworkFailure && cause.isSent) {
    const message = `The upstream received the request, but did not return valid response headers. Try again; if it persists, the operator must check the server at ${ADDRESS_HINT}.`;
    return new UpstreamFailure('api_error', message, { end: 'cut', logged: 'upstream_no_headers', cause });
  }
  const message = 'The upstream could not be reached. Try again in a moment.';
  // Mask secrets in the reason, because callers can read it in the ledger.
  const logged = maskSecrets(`upstream_unreachable: ${cause instanceof Error ? cause.message : 'unknown'}`);
  return new UpstreamFailure('api_error', message, { end: 'cut', logged, cause });
}

/**
 * Returns the reason of an aborted signal in place of what the aborted call has thrown: the network's `fetch` rejects with a
 * copy of the reason, which has lost its class.
 */
export function getAbortReasonOrError({ aborted, reason }: AbortSignal, thrown: unknown): unknown {
  return aborted ? reason : thrown;
}

/**
 * Returns whether the same upstream would probably fail again in the same way, and bill both attempts: it took too long, or it
 * received the request and returned no valid headers.
 */
export function wouldProbablyFailAgain(thrown: unknown): boolean {
  if (thrown instanceof NetworkFailure) return thrown.isSent;
  return thrown instanceof UpstreamFailure && thrown.type === 'timeout_error';
}

/** @returns how the call that threw this error ended. */
export function getRequestEndOfError(thrown: unknown): FailureOptions['end'] {
  return thrown instanceof UpstreamFailure ? thrown.end : 'cut';
}

/** @returns the error for an upstream that answers with a redirect. Following it would send the key to another host. */
export function createRedirectError(): ApiError {
  return createNonRetryableError(
    'api_error',
    `The upstream responded with a redirect. The operator must set ${ADDRESS_HINT}, to the final address.`,
    { logged: 'upstream_redirect' },
  );
}

/**
 * Rejects a status below 200, which only means that the request was accepted. Some runtimes return it as the response, with the
 * actual response as its body. That body is cancelled.
 *
 * @throws UpstreamFailure for such a status. The request may have run
 */
export function rejectInformationalStatus({ status, body }: Response): void {
  if (status >= 200) return;
  body?.cancel().catch(() => undefined);
  throw createNotApiResponseError();
}

/** @returns the error for the status of a success without a message: something other than the API has answered. */
export function createNotApiResponseError(): UpstreamFailure {
  return new UpstreamFailure(
    'api_error',
    `The server at the upstream’s address is not the Claude API. The operator must check ${ADDRESS_HINT}.`,
    { end: 'cut', logged: 'upstream_no_answer' },
  );
}

/**
 * Makes one attempt of a call. If its headers come too late, this attempt alone is aborted, so that another one can follow.
 *
 * @param ms undefined if only `signal` ends the try
 * @throws UpstreamFailure 504 when they come too late
 */
export async function callWithHeadersTimeout(
  ms: number | undefined,
  signal: AbortSignal,
  call: (signal: AbortSignal) => Promise<Response>,
): Promise<Response> {
  if (ms === undefined) return await call(signal);
  const own = new AbortController();
  const timer = setTimeout(() => own.abort(createHeadersTimeoutError()), ms);
  try {
    return await call(AbortSignal.any([signal, own.signal]));
  } catch (thrown) {
    throw getAbortReasonOrError(own.signal, thrown);
  } finally {
    clearTimeout(timer);
  }
}
