import { remembering, staysHere } from '../http/private-headers.ts';

/**
 * Not sent up unless the operator says so: by them a caller would choose a provider, a key or a rule of a gateway that
 * stands before the upstream, or another workspace of the operator's.
 */
const WITHHELD: ReadonlySet<string> = new Set([
  'anthropic-workspace-id',
  'anthropic-user-profile-id',
  'anthropic-organization-id',
  'api-key',
]);
const WITHHELD_PREFIXES = [
  'x-portkey-',
  'helicone-',
  'x-litellm-',
  'x-bf-',
  'x-goog-',
  'x-amz-',
  'x-amzn-',
  'x-envoy-',
];

/** Never sent down: they are the connection's, or speak of an account and an origin that are not the caller's. */
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
// What a gateway says of itself is the operator's to know.
const NOT_DOWN_PREFIXES = [
  'anthropic-ratelimit-',
  'anthropic-priority-',
  'access-control-',
  'cf-',
  ...WITHHELD_PREFIXES,
];

const isWithheld = remembering(WITHHELD, WITHHELD_PREFIXES);
const staysAbove = remembering(NOT_DOWN, NOT_DOWN_PREFIXES);

/** Requests without a version are answered as this one. */
const DEFAULT_VERSION = '2023-06-01';

/** Headers by their names, in small letters: objects of the runtime's are made and freed at many times their cost. */
export type PlainHeaders = Record<string, string>;

/**
 * @param caller the caller's headers
 * @param apiKey the deployment's key, which takes the place of the caller's credential
 * @param forwarded names of those that go up since the operator says so, or their beginnings with a `*`
 * @returns the headers that go up: the caller's own, known or not, but for those that must not
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
 * @returns the headers that go down to the caller
 */
export function headersDown(upstream: Headers): PlainHeaders {
  return copied(upstream, staysAbove);
}

function isForwarded(name: string, forwarded: readonly string[]): boolean {
  return forwarded.some((pattern) =>
    pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern,
  );
}

function copied(headers: Headers, stays: (name: string) => boolean): PlainHeaders {
  // Without a prototype, whose members are names that a header can have.
  const copy = Object.create(null) as PlainHeaders;
  let connection: string | undefined;
  // An iterator of the runtime's would make objects for each header.
  headers.forEach((value, name) => {
    if (name === 'connection') connection = value;
    else if (!stays(name)) copy[name] = value;
  });
  // What `connection` names is the connection's too.
  for (const name of connection?.split(',') ?? []) delete copy[name.trim().toLowerCase()];
  return copy;
}
