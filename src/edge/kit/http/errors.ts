/** The error types of the Anthropic API, and `not_supported` for what this edge does not offer, with their HTTP statuses. */
export const STATUS_BY_TYPE = {
  invalid_request_error: 400,
  authentication_error: 401,
  billing_error: 429,
  permission_error: 403,
  not_found_error: 404,
  conflict_error: 409,
  request_too_large: 413,
  rate_limit_error: 429,
  api_error: 500,
  timeout_error: 504,
  overloaded_error: 529,
  not_supported: 501,
} as const;

export type ErrorType = keyof typeof STATUS_BY_TYPE;

/** @returns the HTTP status that belongs to the type of an error; 500 for one that is not known. */
export function getStatusOfErrorType(type: string): number {
  // A `billing_error` of an upstream concerns the operator's money and has status 402. (An account that reaches its own limit
  // is rejected with 429.)
  if (type === 'billing_error') return 402;
  return isErrorType(type) ? STATUS_BY_TYPE[type] : 500;
}

export function isErrorType(type: string): type is ErrorType {
  return Object.hasOwn(STATUS_BY_TYPE, type);
}

/** The body of every error, as the Anthropic API shapes it. */
export interface ErrorBody {
  type: 'error';
  error: { type: string; message: string; details?: Readonly<Record<string, string>> };
  request_id: string;
}

/** The optional members of an error, beside its type and message. */
export interface ApiErrorOptions {
  /** HTTP status. Default: the one that belongs to the type. */
  status?: number;
  headers?: Record<string, string>;
  /** The value that is logged instead of the type. It is never sent to the caller. */
  logged?: string;
  /** What the upstream has said, for the operator. The log has it, the caller never gets it. */
  upstreamSaid?: string | undefined;
  /** Distinguishes errors of the same type, for programs. */
  details?: Readonly<Record<string, string>> | undefined;
  cause?: unknown;
}

/**
 * An error that a caller may see. Its type determines the status; its message contains the remedy.
 *
 * @example
 * const edge = createApp();
 * edge.get('/reports/:day', () => {
 *   throw new ApiError('not_found_error', 'This day has no report. Request another day.');
 * });
 * export default edge;
 */
export class ApiError extends Error {
  override name = 'ApiError';
  readonly type: ErrorType;
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly logged: string;
  readonly upstreamSaid: string | undefined;
  readonly details: Readonly<Record<string, string>> | undefined;

  constructor(type: ErrorType, message: string, options: ApiErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.type = type;
    this.status = options.status ?? STATUS_BY_TYPE[type];
    this.headers = options.headers ?? {};
    this.logged = options.logged ?? type;
    this.upstreamSaid = options.upstreamSaid;
    this.details = options.details;
  }
}

/** Official clients retry 408, 409, 429 and 5xx unless this header forbids it. */
export const DO_NOT_RETRY = { 'x-should-retry': 'false' };

/** @returns an error that repeating the request will not change. */
export function createNonRetryableError(type: ErrorType, message: string, options?: ApiErrorOptions): ApiError {
  return new ApiError(type, message, { ...options, headers: { ...DO_NOT_RETRY, ...options?.headers } });
}

/** @returns the 400 for a request that needs a plugin which is not registered. @param feature the field, and what needs the plugin */
export function createMissingPluginError(plugin: string, feature: string): ApiError {
  return createInvalidRequestError(
    `${feature} requires the plugin \`${plugin}\`, which this deployment does not include. Ask its operator to add it.`,
  );
}

/** @returns the 403 for what a restricted token may not do. */
export function createRestrictedTokenError(message: string): ApiError {
  return createNonRetryableError('permission_error', `${message} (The token of this request is restricted.)`);
}

/** @throws ApiError 403 for the first of a restricted token's members that is none of these. @param decider who decides all others */
export function rejectFieldsNotAllowed(names: Iterable<string>, allowed: ReadonlySet<string>, decider: string): void {
  for (const name of names)
    if (!allowed.has(name))
      throw createRestrictedTokenError(`${name}: set by the ${decider}, not by requests. Remove it.`);
}

/** @returns a 400: the caller must change the request. */
export function createInvalidRequestError(message: string, options?: ApiErrorOptions): ApiError {
  return new ApiError('invalid_request_error', message, options);
}

/** @returns a 404. It is also used for resources of other accounts, so that callers cannot find out which ids exist. */
export function createNotFoundError(message: string): ApiError {
  return new ApiError('not_found_error', message);
}

export function createTooLargeError(limitBytes: number): ApiError {
  return new ApiError(
    'request_too_large',
    `Request exceeds the maximum size of ${limitBytes} bytes. Send a smaller body.`,
  );
}

/** @returns the header with the number of seconds after which to retry. */
export function createRetryAfterHeader(seconds = 1): { 'retry-after': string } {
  return { 'retry-after': String(seconds) };
}

/**
 * @param as its type, and the seconds after which to retry
 * @returns an error for a service that is temporarily busy or unreachable: a 503, or with a type the status of that type
 */
export function createRetryableError(message: string, logged?: string, as: RetryableErrorOptions = {}): ApiError {
  const { type = 'api_error', seconds, ...options } = as;
  const status = type === 'api_error' ? 503 : STATUS_BY_TYPE[type];
  const headers = { ...createRetryAfterHeader(seconds), ...options.headers };
  return new ApiError(type, message, { ...options, status, headers, logged: logged ?? type });
}

interface RetryableErrorOptions extends Omit<ApiErrorOptions, 'status' | 'logged'> {
  type?: ErrorType;
  seconds?: number;
}

/** @returns a 405 with the `allow` header that HTTP requires. */
export function createMethodNotAllowedError(method: string, allowed: readonly string[]): ApiError {
  const allow = allowed.join(', ');
  return createInvalidRequestError(`${method} is not allowed here. Use ${allow}.`, { status: 405, headers: { allow } });
}

/** @returns a 415 that names the content type to send. */
export function createUnsupportedMediaTypeError(): ApiError {
  return createInvalidRequestError('Send the body as JSON, with the header content-type: application/json.', {
    status: 415,
  });
}

export function createCompressedBodyError(): ApiError {
  return createInvalidRequestError('Send the body uncompressed, without the header content-encoding.', { status: 415 });
}

/** @returns a 500 for the operator: the deployment itself is not set up. */
export function createMisconfiguredError(message: string, logged = 'misconfigured'): ApiError {
  return createNonRetryableError('api_error', message, { logged });
}

/**
 * Makes the error that replaces the upstream's 401, 402, and others about the key, its bill or its organization, because only the operator can correct them.
 *
 * @param upstreamSaid its status, type and words, without any secret. Only the operator gets them
 */
export function createUpstreamKeyRejectedError(upstreamSaid?: string): ApiError {
  const message = 'The upstream rejected this deployment. The operator can find the reason in the log.';
  return createNonRetryableError('api_error', message, { logged: 'upstream_auth', upstreamSaid });
}

/** How the `error_type` begins where something could not be stored, since a disk or an object's database is full. */
export const DISK_FULL = 'disk_full';
export const DISK_FULL_MESSAGE = 'cannot store anything at the moment, because a disk is full. Try again in a moment.';

/** @returns whether these words of an error say that a disk, or an object's database, is full */
export function isDiskFullMessage(message: string): boolean {
  return message.includes('SQLITE_FULL');
}

/** @returns any thrown value as an error that a caller may see. An unexpected one has no details. */
export function toApiError(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown;
  const message = thrown instanceof Error ? thrown.message : '';
  if (isDiskFullMessage(message))
    return createRetryableError(`This deployment ${DISK_FULL_MESSAGE}`, `${DISK_FULL}: ${message}`, { cause: thrown });
  return new ApiError('api_error', 'Internal error. Try again; if it persists, give the operator the request id.', {
    logged: thrown instanceof Error ? `internal: ${thrown.name}: ${thrown.message}` : 'internal',
    cause: thrown,
  });
}

/** @returns the body of an error, as the API shapes it. */
export function createErrorBody(
  { type, message, details }: Pick<ErrorBody['error'], 'type' | 'message'> & { details?: ApiError['details'] },
  requestId: string,
): ErrorBody {
  return { type: 'error', error: { type, message, ...(details && { details }) }, request_id: requestId };
}

/** @returns the lines of an `error` event, its empty line included, as the API sends them in a stream. */
export function createSseErrorEvent(error: { type: string; message: string }, requestId: string): string {
  return `event: error\ndata: ${JSON.stringify(createErrorBody(error, requestId))}\n\n`;
}

/** @returns the error as a response. The app adds the headers with the ids. @param message replaces its own message */
export function createApiErrorResponse(error: ApiError, requestId: string, message = error.message): Response {
  const { type, details, status, headers } = error;
  return Response.json(createErrorBody({ type, message, details }, requestId), { status, headers });
}
