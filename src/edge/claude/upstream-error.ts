/** Reads the fields of an upstream's error. */

import { getStatusOfErrorType, isErrorType } from '../kit/http/errors.ts';
import { maskSecrets } from '../kit/http/secrets.ts';
import { getMember, toStringOrUndefined } from '../kit/json/object.ts';

/** An error as an upstream reports it. Missing fields are empty. */
export interface UpstreamError {
  code: string;
  type: string;
  message: string;
}

/**
 * Sentences of the API for errors without a code, each with its cause: a code of the API, or a name of our own. A sentence must
 * begin the message, because an error may quote its caller. Only the first may follow the words of a gateway.
 */
const CAUSE_BY_SENTENCE: readonly (readonly [RegExp, string])[] = [
  [/\bcredit balance is too low\b/i, 'credit_used_up'],
  [/^You have reached your specified (?:workspace )?API usage limits\b/, 'own_spend_limit_reached'],
  [/^You have reached your API usage limits: your organization has crossed\b/, 'enforced_spend_limit_reached'],
  [/^This organization has been disabled\b/, 'organization_disabled'],
];
const NAMED_END_TIME = /\bregain access on (\d{4}-\d\d-\d\d) at (\d\d:\d\d) UTC\b/;

/**
 * The fields in which gateways put the message of an error, the maximum depth, and the maximum of characters that a response
 * may quote.
 */
const MESSAGE_PATHS = ['message', 'detail', 'msg', 'error'] as const;
const MAX_MESSAGE_DEPTH = 5;
const MAX_MESSAGE_CHARACTERS = 500;
/** Messages of the API for requests that any upstream rejects. */
const PUBLISHED_MESSAGES =
  /\b(?:prompt|input) is too long\b|\bmaximum allowed number of output tokens\b|\bassistant message prefill\b|^tool_choice: type .* not supported|\btool_use\W+ids were found without\b|\bcache_control\b.*(?:must not come after|cannot be set|extra inputs)/i;

/** Messages of the API that reject thinking. Each upstream signs its own thinking, so another one may accept the request. */
const THINKING_MESSAGES = /\bInvalid\W+signature\W+in\W+thinking\b|\blatest assistant message cannot be modified\b/i;

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

/** @returns whether any upstream would reject the request in these words. */
export function isStandardApiErrorMessage(words: string): boolean {
  return PUBLISHED_MESSAGES.test(words) || isThinkingRejectionMessage(words);
}

/** @returns whether words reject thinking that another upstream may have signed. */
export function isThinkingRejectionMessage(words: string): boolean {
  return THINKING_MESSAGES.test(words);
}

/** @returns an error's code; without one, the code that its message implies; empty if neither is known. */
export function getErrorCause({ code, message }: Omit<UpstreamError, 'type'>): string {
  return code || (CAUSE_BY_SENTENCE.find(([sentence]) => sentence.test(message))?.[1] ?? '');
}

/** @returns when the API takes requests again, in milliseconds since 1970; undefined or NaN where that is not known. */
export function parseLimitResetTime(error: UpstreamError, now: number): number | undefined {
  const cause = getErrorCause(error);
  const day = new Date(now);
  if (cause === 'enforced_spend_limit_reached') return Date.UTC(day.getUTCFullYear(), day.getUTCMonth() + 1);
  const [, date, time] = (cause === 'own_spend_limit_reached' && NAMED_END_TIME.exec(error.message)) || [];
  return date === undefined ? undefined : Date.parse(`${date}T${time}Z`);
}
