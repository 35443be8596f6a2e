import type { ErrorBody, ErrorType } from '../http/errors.ts';

/**
 * What went wrong: the API's error types, as they came; `connection_error` where the network failed, `closed` where the
 * caller stopped listening before the end. New types of the API are let through.
 */
export type SluiceErrorType = ErrorType | 'connection_error' | 'closed' | (string & {});

export interface SluiceErrorOptions {
  status?: number | undefined;
  requestId?: string | undefined;
  retryAfter?: number | undefined;
  headers?: Headers | undefined;
  cause?: unknown;
}

/** Every error that this client raises. */
export class SluiceError extends Error {
  override name = 'SluiceError';
  readonly type: SluiceErrorType;
  /** HTTP status; undefined if there was no answer, or the error came in a stream. */
  readonly status: number | undefined;
  /** By it the operator finds the request in the log and the ledger. */
  readonly requestId: string | undefined;
  /** Seconds after which it is worth trying again. */
  readonly retryAfter: number | undefined;
  /** The headers of the answer that told it. */
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

/** What a proxy answers while the edge cannot be reached, and the edge while a conversation cannot. */
const PASSING = [408, 502, 503, 504, 520, 521, 522, 523, 524, 525, 526, 527, 530];

/** @returns whether an error is one that passes by itself, so that the connection is tried again. */
export function isPassing(thrown: unknown): thrown is SluiceError {
  if (!(thrown instanceof SluiceError)) return false;
  if (thrown.status === undefined) return thrown.type === 'connection_error';
  return PASSING.includes(thrown.status) && thrown.headers?.get('x-should-retry') !== 'false';
}

/** @returns the error that a response tells, whoever has written it. */
export async function errorIn(response: Response): Promise<SluiceError> {
  const { status, headers } = response;
  const text = await response.text().catch(() => '');
  const { error, request_id }: Partial<ErrorBody> = parse(text) ?? {};
  const seconds = headers.get('retry-after-ms') === null ? 1 : 1_000;
  const wait = headers.get('retry-after-ms') ?? headers.get('retry-after');
  return new SluiceError(error?.type ?? 'api_error', error?.message ?? `The answer was ${status}.`, {
    status,
    headers,
    requestId: headers.get('sluice-request-id') ?? request_id,
    retryAfter: wait === null || Number.isNaN(Number(wait)) ? undefined : Number(wait) / seconds,
  });
}

/** @returns an error event's data as an error; undefined if it is broken. */
export function errorOf(data: string, headers: Headers | undefined): SluiceError | undefined {
  const { error, request_id }: Partial<ErrorBody> = parse(data) ?? {};
  const requestId = headers?.get('sluice-request-id') ?? request_id;
  return error && new SluiceError(error.type, error.message, { requestId, headers });
}

/** @returns a JSON object; undefined for what is none. */
export function parse<T extends object>(text: string): T | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as T) : undefined;
  } catch {
    return undefined;
  }
}
