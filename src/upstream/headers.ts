import { rememberingMatcher, staysHere } from '../http/private-headers.ts';
import { masked } from '../http/secrets.ts';
import { CHOOSING_PREFIXES } from './kinds/service-headers.ts';

/**
 * Not sent up unless FORWARD_HEADERS names them. By these headers a caller could choose a provider, a key or a rule of a
 * gateway before the upstream, or another workspace of the operator's.
 */
const WITHHELD: ReadonlySet<string> = new Set([
  'anthropic-workspace-id',
  'anthropic-user-profile-id',
  'anthropic-organization-id',
  'api-key',
]);

/** Never sent down: they belong to the connection, or are about the operator's account or the upstream's own origin. */
const NOT_DOWN: ReadonlySet<string> = new Set([
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
// What a gateway tells about itself is for the operator only.
const NOT_DOWN_PREFIXES = [
  'anthropic-ratelimit-',
  'anthropic-priority-',
  'access-control-',
  'cf-',
  ...CHOOSING_PREFIXES,
];

const isWithheld = rememberingMatcher(WITHHELD, CHOOSING_PREFIXES);
const staysAbove = rememberingMatcher(NOT_DOWN, NOT_DOWN_PREFIXES);

/** The version of a request without `anthropic-version`. */
const DEFAULT_VERSION = '2023-06-01';

/** Headers by their names in lower case. A plain object costs a small part of what the runtime's `Headers` does. */
export type PlainHeaders = Record<string, string>;

/**
 * @param caller the caller's headers
 * @param apiKey the deployment's key, which takes the place of the caller's credential
 * @param forwarded the setting FORWARD_HEADERS: names, or beginnings of names with a `*` at the end
 * @returns the headers that go up: all of the caller's but those that must not
 */
export function headersUp(caller: Headers, apiKey: string, forwarded: readonly string[]): PlainHeaders {
  const up = copied(caller, (name) => staysHere(name) || (isWithheld(name) && !isForwarded(name, forwarded)));
  up['x-api-key'] = apiKey;
  up['accept-encoding'] = 'identity';
  up['anthropic-version'] ??= DEFAULT_VERSION;
  return up;
}

/**
 * @param upstream the upstream's response headers
 * @returns the headers that go down to the caller, without any secret of this deployment
 */
export function headersDown(upstream: Headers): PlainHeaders {
  return copied(upstream, staysAbove, masked);
}

/** @returns the id that the upstream has given to a request. */
export function upstreamRequestId(upstream: Headers): string | undefined {
  const id = upstream.get('request-id');
  return id === null ? undefined : masked(id);
}

function isForwarded(name: string, forwarded: readonly string[]): boolean {
  return forwarded.some((pattern) =>
    pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern,
  );
}

function copied(
  headers: Headers,
  isLeftOut: (name: string) => boolean,
  as: (value: string) => string = (value) => value,
): PlainHeaders {
  // No prototype: a header may be called like one of its members, such as `constructor`.
  const copy = Object.create(null) as PlainHeaders;
  let connection: string | undefined;
  // `forEach` is faster: an iterator makes an array for each header.
  headers.forEach((value, name) => {
    if (name === 'connection') connection = value;
    else if (!isLeftOut(name)) copy[name] = as(value);
  });
  // The headers that `connection` names belong to the connection as well.
  for (const name of connection?.split(',') ?? []) delete copy[name.trim().toLowerCase()];
  return copy;
}
