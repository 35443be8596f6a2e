/** Reads the fields of an upstream's error. */

import { getStatusOfErrorType, isErrorType } from '../kit/http/errors.ts';
import { maskSecrets } from '../kit/http/secrets.ts';
import { getMember, toStringOrUndefined } from '../kit/json/object.ts';
import { findKeyRejectionCause, isStandardApiErrorMessage } from './usage/api-sentences.ts';

/** An error as an upstream reports it. Missing fields are empty. */
export interface UpstreamError {
  code: string;
  type: string;
  message: string;
}

const NAMED_END_TIME = /\bregain access on (\d{4}-\d\d-\d\d) at (\d\d:\d\d) UTC\b/;

/**
 * The fields in which gateways put the message of an error, the maximum depth, and the maximum of characters that a response
 * may quote.
 */
const MESSAGE_PATHS = ['message', 'detail', 'msg', 'error'] as const;
const MAX_MESSAGE_DEPTH = 5;
const MAX_MESSAGE_CHARACTERS = 500;

/** @returns the error in a body in the API's form. */
export function parseUpstreamError(body: unknown): UpstreamError {
  const error = getMember(body, 'error');
  const readTextField = (source: unknown, name: string) =>
    maskSecrets(toStringOrUndefined(getMember(source, name)) ?? '');
  const code = readTextField(getMember(error, 'details'), 'error_code');
  return { code, type: readTextField(error, 'type'), message: readTextField(error, 'message') };
}

/** @returns the message of an error in any form that a gateway uses; empty if there is none. */
export function findMessage(value: unknown, depth = 0): string {
  if (typeof value === 'string') return sanitizeErrorMessage(maskSecrets(value));
  if (depth > MAX_MESSAGE_DEPTH || typeof value !== 'object' || value === null) return '';
  const within = Array.isArray(value)
    ? value.slice(0, MAX_MESSAGE_DEPTH)
    : MESSAGE_PATHS.map((name) => getMember(value, name));
  const found = within.map((one) => findMessage(one, depth + 1)).filter((words) => words !== '');
  return sanitizeErrorMessage(Array.isArray(value) ? found.join('; ') : (found[0] ?? ''));
}

function sanitizeErrorMessage(words: string): string {
  return words.slice(0, MAX_MESSAGE_CHARACTERS).toWellFormed();
}

/** @returns the status for an error that was sent with the status of a success. */
export function getStatusForErrorBody(body: unknown): number {
  const one: unknown = Array.isArray(body) ? body[0] : body;
  const error = getMember(one, 'error') ?? one;
  const type = String(getMember(error, 'type'));
  if (isErrorType(type)) return getStatusOfErrorType(type);
  const status = Math.trunc(Number(getMember(error, 'code')));
  if (status >= 400 && status < 600) return status;
  return isStandardApiErrorMessage(findMessage(body)) ? 400 : 500;
}

/** @returns an error's code; without one, the code that its message implies; empty if neither is known. */
export function getErrorCause({ code, message }: Omit<UpstreamError, 'type'>): string {
  return code || (findKeyRejectionCause(message) ?? '');
}

/** @returns when the API takes requests again, in milliseconds since 1970; undefined or NaN where that is not known. */
export function parseLimitResetTime(error: UpstreamError, now: number): number | undefined {
  const cause = getErrorCause(error);
  const day = new Date(now);
  if (cause === 'enforced_spend_limit_reached') return Date.UTC(day.getUTCFullYear(), day.getUTCMonth() + 1);
  const [, date, time] = (cause === 'own_spend_limit_reached' && NAMED_END_TIME.exec(error.message)) || [];
  return date === undefined ? undefined : Date.parse(`${date}T${time}Z`);
}
