import { DAY_MS } from '../kit/async/durations.ts';
import { createInvalidRequestError } from '../kit/http/errors.ts';
import { parseCommaList } from '../kit/http/headers/comma-list.ts';
import { createHeaderNameMatcher, isNeverForwarded } from '../kit/http/headers/not-forwarded.ts';
import { maskSecrets } from '../kit/http/secrets.ts';
import { CONTROL_HEADER_PREFIXES } from './providers/service-headers.ts';

/**
 * Headers that are not forwarded unless FORWARD_HEADERS names them. With them a caller could choose a provider, a key or a rule
 * of a gateway before the upstream, or another workspace of the operator.
 */
const WITHHELD_HEADERS: ReadonlySet<string> = new Set([
  'anthropic-workspace-id',
  'anthropic-user-profile-id',
  'anthropic-organization-id',
  'api-key',
]);

/**
 * Response headers that are never forwarded. They belong to the connection, or describe the operator's account or the
 * upstream's origin.
 */
const HIDDEN_RESPONSE_HEADERS: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'content-encoding',
  'content-length',
  'set-cookie',
  'alt-svc',
  'strict-transport-security',
  'anthropic-organization-id',
  'via',
  'server',
]);
// These headers describe the operator's own account or the gateway in front of the API, so callers must not see them.
const HIDDEN_RESPONSE_PREFIXES = [
  'anthropic-ratelimit-',
  'anthropic-priority-',
  'access-control-',
  'cf-',
  ...CONTROL_HEADER_PREFIXES,
];

const isWithheld = createHeaderNameMatcher(WITHHELD_HEADERS, CONTROL_HEADER_PREFIXES);
const isHiddenFromCaller = createHeaderNameMatcher(HIDDEN_RESPONSE_HEADERS, HIDDEN_RESPONSE_PREFIXES);

/** The version of a request without `anthropic-version`. */
const DEFAULT_VERSION = '2023-06-01';

/**
 * The maximum of characters of a caller's headers that are forwarded. Further headers are dropped: a connection that breaks
 * because of them would look like a failure of the upstream.
 */
const MAX_FORWARDED_CHARACTERS = 8_192;

/**
 * The maximum of a caller's own headers in a request. Clients send about thirty. A server closes the connection at some number
 * (Node at a thousand), which would look like an upstream that fails.
 */
const MAX_CALLER_HEADERS = 64;

/** Counts a caller's headers, without those that are never sent. @throws ApiError 400 for too many */
export function rejectTooManyHeaders(caller: Headers): void {
  let own = 0;
  caller.forEach((_, name) => {
    if (!isNeverForwarded(name)) own += 1;
  });
  if (own > MAX_CALLER_HEADERS) {
    throw createInvalidRequestError(
      `This request has ${own} headers that would be forwarded, and at most ${MAX_CALLER_HEADERS} are allowed. Remove some.`,
    );
  }
}

/** @returns the value of `anthropic-beta` with the names that an agent needs, each once. @param callerValue the caller's value */
export function joinBetas(callerValue: string | null | undefined, betas: readonly string[]): string {
  return [...new Set([...parseCommaList(callerValue ?? ''), ...betas])].join();
}

/** Headers by their names in lower case. A plain object costs much less than the runtime's `Headers`. */
export type PlainHeaders = Record<string, string>;

/**
 * Filters the caller's headers for the upstream: removes credentials and others that must not be sent, and adds the
 * deployment's key.
 *
 * @param caller the caller's headers
 * @param apiKey the deployment's key, which replaces the caller's credential
 * @param forwarded the setting FORWARD_HEADERS: names, or beginnings of names with a `*` at the end
 * @returns the headers to send
 */
export function toUpstreamHeaders(caller: Headers, apiKey: string, forwarded: readonly string[]): PlainHeaders {
  let left = MAX_FORWARDED_CHARACTERS;
  const up = copyHeadersToObject(caller, (name, value) => {
    if (isNeverForwarded(name) || (isWithheld(name) && !isForwardedHeader(name, forwarded))) return true;
    const length = name.length + value.length;
    if (length > left) return true;
    left -= length;
    return false;
  });
  up['x-api-key'] = apiKey;
  up['accept-encoding'] = 'identity';
  up['anthropic-version'] ??= DEFAULT_VERSION;
  return up;
}

/**
 * Filters the upstream's response headers for the caller: removes those that must not be returned, and masks secrets.
 *
 * @param upstream the upstream's response headers
 * @returns the headers to return
 */
export function toCallerHeaders(upstream: Headers): PlainHeaders {
  const down = copyHeadersToObject(upstream, isHiddenFromCaller, maskSecrets);
  for (const name of WAIT_HEADERS) {
    const value = down[name];
    if (value !== undefined && !isHeaderTimeReasonable(name, value)) delete down[name];
  }
  return down;
}

/** Headers that say how long to wait, with their units in milliseconds. */
const WAIT_UNITS_MS: Readonly<Record<string, number>> = { 'retry-after': 1_000, 'retry-after-ms': 1 };
const WAIT_HEADERS = Object.keys(WAIT_UNITS_MS);
/** The maximum of milliseconds that an upstream may request to wait. */
const MAX_UPSTREAM_WAIT_MS = 7 * DAY_MS;

/** @returns whether a header names no time, or one that a client can wait for. Some would wait for ever, or not at all. */
export function isHeaderTimeReasonable(name: string, value: string): boolean {
  const unit = WAIT_UNITS_MS[name];
  return unit === undefined || parseWaitMs(value, unit) !== undefined;
}

/** @returns the milliseconds that a header contains, as a number of units or a date; undefined for an unreasonable time */
export function parseWaitMs(value: string | null, unitMs: number): number | undefined {
  if (value === null || value.trim() === '') return undefined;
  // Try a number first, because `Date.parse` accepts even "-5" as a date.
  const wait = Number.isNaN(Number(value)) ? Math.max(0, Date.parse(value) - Date.now()) : Number(value) * unitMs;
  return wait >= 0 && wait <= MAX_UPSTREAM_WAIT_MS ? wait : undefined;
}

/** @returns the id that the upstream has given to a request. */
export function getUpstreamRequestId(upstream: Headers): string | undefined {
  const id = upstream.get('request-id');
  return id === null ? undefined : maskSecrets(id);
}

/** @param forwarded names, or beginnings of names with a `*` at the end */
export function isForwardedHeader(name: string, forwarded: readonly string[]): boolean {
  return forwarded.some((pattern) =>
    pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern,
  );
}

function copyHeadersToObject(
  headers: Headers,
  isLeftOut: (name: string, value: string) => boolean,
  as: (value: string) => string = (value) => value,
): PlainHeaders {
  // Create the object without a prototype, because a header may be named like an inherited property, such as `constructor`.
  const copy = Object.create(null) as PlainHeaders;
  let connection: string | undefined;
  // `forEach` is faster than an iterator, which creates an array for each header.
  headers.forEach((value, name) => {
    if (name === 'connection') connection = value;
    else if (!isLeftOut(name, value)) copy[name] = as(value);
  });
  // Headers named in `Connection` are hop-by-hop and must not be forwarded either.
  for (const name of connection?.split(',') ?? []) delete copy[name.trim().toLowerCase()];
  return copy;
}
