import type { JsonObject } from '../../api-rules/json.ts';

/** The error type of the API for each status: https://platform.claude.com/docs/en/api/errors */
const ERROR_TYPE_BY_STATUS = new Map<number, string>([
  [400, 'invalid_request_error'],
  [401, 'authentication_error'],
  [402, 'billing_error'],
  [403, 'permission_error'],
  [404, 'not_found_error'],
  [409, 'conflict_error'],
  [413, 'request_too_large'],
  [429, 'rate_limit_error'],
  [500, 'api_error'],
  [504, 'timeout_error'],
  [529, 'overloaded_error'],
]);

/** A rejection that becomes the API's error envelope. */
export class ApiError extends Error {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly details: JsonObject | undefined;

  /** @param details distinguishes errors with the same status, for programs. */
  constructor(status: number, message: string, headers: Record<string, string> = {}, details?: JsonObject) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.headers = headers;
    this.details = details;
  }

  /** The API's type of the error. A status without its own type has that of its class. */
  get type(): string {
    return ERROR_TYPE_BY_STATUS.get(this.status) ?? (this.status < 500 ? 'invalid_request_error' : 'api_error');
  }

  toEnvelopeJson(requestId: string): string {
    const details = this.details === undefined ? {} : { details: this.details };
    const error = { type: this.type, message: this.message, ...details };
    return JSON.stringify({ type: 'error', error, request_id: requestId });
  }
}

/** Makes a 400 `invalid_request_error`, to be thrown. */
export function createInvalidRequestError(message: string): ApiError {
  return new ApiError(400, message);
}
