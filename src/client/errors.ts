import type { ErrorBody, ErrorType } from '../edge/answers.ts';

/**
 * The type of an error: an error type of the API, even an unknown one; `connection_error` if the network failed; `closed` if
 * the caller stopped listening before the end.
 */
export type SluiceErrorType = ErrorType | 'connection_error' | 'closed' | (string & {});

export interface SluiceErrorOptions {
  status?: number | undefined;
  requestId?: string | undefined;
  retryAfter?: number | undefined;
  headers?: Headers | undefined;
  cause?: unknown;
}

/**
 * The error that this client throws, always.
 *
 * @example
 * try {
 *   await sluice.conversations.get('unknown');
 * } catch (error) {
 *   if (error instanceof SluiceError) show(error.type, error.requestId);
 * }
 */
export class SluiceError extends Error {
  override name = 'SluiceError';
  readonly type: SluiceErrorType;
  /** HTTP status; undefined if there was no answer, or the error came in a stream. */
  readonly status: number | undefined;
  /** The request's id in the operator's log and ledger. */
  readonly requestId: string | undefined;
  /** The seconds to wait before another attempt. */
  readonly retryAfter: number | undefined;
  /** The headers of the answer that had the error. */
  readonly headers: Headers | undefined;

  constructor(type: SluiceErrorType, message: string, options: SluiceErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.type = type;
    this.status = options.status;
    this.requestId = options.requestId;
    this.retryAfter = options.retryAfter;
    this.headers = options.headers;
  }
}

/** An answer whose `fetch` gives no stream of its body. No other attempt would be read either. */
export class UnreadableError extends SluiceError {
  constructor(headers: Headers) {
    super(
      'connection_error',
      'This `fetch` cannot read an answer as it comes. Give one that can, as the option `fetch`: on React Native, that of `expo/fetch`.',
      { headers },
    );
  }
}

/** The statuses of a proxy that cannot reach the edge, and of an edge that cannot reach a conversation. */
const RETRYABLE_STATUSES = [408, 502, 503, 504, 520, 521, 522, 523, 524, 525, 526, 527, 530];

/** @returns whether an error may pass with time, so that the connection is tried again */
export function isRetryable(thrown: unknown): thrown is SluiceError {
  if (!(thrown instanceof SluiceError) || thrown instanceof UnreadableError) return false;
  if (thrown.status === undefined) return thrown.type === 'connection_error';
  return RETRYABLE_STATUSES.includes(thrown.status) && thrown.headers?.get('x-should-retry') !== 'false';
}

/** @returns whether a question that changes nothing may be asked again, even after a limit or an error of the server */
export function isSafeToRetryRead(thrown: unknown): thrown is SluiceError {
  if (isRetryable(thrown)) return true;
  if (!(thrown instanceof SluiceError) || thrown.headers?.get('x-should-retry') === 'false') return false;
  return thrown.status === 429 || (thrown.status ?? 0) >= 500;
}

/** @returns the error of a response, from the edge or from a proxy before it */
export async function readErrorResponse(response: Response): Promise<SluiceError> {
  const { status, headers } = response;
  const text = await response.text().catch(() => '');
  const { error, request_id }: Partial<ErrorBody> = parseJsonObject(text) ?? {};
  const seconds = headers.get('retry-after-ms') === null ? 1 : 1_000;
  const wait = headers.get('retry-after-ms') ?? headers.get('retry-after');
  return new SluiceError(
    error?.type ?? 'api_error',
    error?.message ?? `The deployment responded with ${status} without an error message.`,
    {
      status,
      headers,
      requestId: headers.get('sluice-request-id') ?? request_id,
      retryAfter: wait === null || Number.isNaN(Number(wait)) ? undefined : Number(wait) / seconds,
    },
  );
}

/** @returns the error of an error event's data; undefined if the data is incomplete */
export function readErrorEvent(data: string, headers: Headers | undefined): SluiceError | undefined {
  const { error, request_id }: Partial<ErrorBody> = parseJsonObject(data) ?? {};
  const requestId = headers?.get('sluice-request-id') ?? request_id;
  return error && new SluiceError(error.type, error.message, { requestId, headers });
}

/** @returns a JSON object; undefined if the text is not one */
export function parseJsonObject<T extends object>(text: string): T | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as T) : undefined;
  } catch {
    return undefined;
  }
}
