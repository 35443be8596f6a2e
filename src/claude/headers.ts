/** Never sent up: they are the connection's, the caller's own credentials, the browser's, the platform's or ours. */
const NOT_UP: ReadonlySet<string> = new Set([
  'authorization',
  'x-api-key',
  'proxy-authorization',
  'proxy-authenticate',
  'connection',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'host',
  'content-length',
  'cookie',
  'origin',
  'referer',
  'x-real-ip',
  'anthropic-dangerous-direct-browser-access',
  // Goes up by itself, under the account's name: two accounts may choose the same.
  'idempotency-key',
  // Of these the upstream, or what is before it, could read another request than was judged here.
  'content-encoding',
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
  'x-original-url',
  'x-rewrite-url',
  'x-http-path-override',
  'x-original-host',
  'x-host',
  'x-cluster-client-ip',
  'x-azure-clientip',
  'fastly-client-ip',
  'ocp-apim-subscription-key',
  // What is asked for is the whole answer, and this one.
  'if-none-match',
  'if-modified-since',
  'if-match',
  'if-range',
  'range',
  'forwarded',
  'true-client-ip',
  'x-client-ip',
  // The copy that is metered must be readable here; the platform compresses towards the caller by itself.
  'accept-encoding',
]);
const NOT_UP_PREFIXES = ['sec-', 'cf-', 'x-forwarded-', 'sluice-'];

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

const staysHere = remembering(NOT_UP, NOT_UP_PREFIXES);
const isWithheld = remembering(WITHHELD, WITHHELD_PREFIXES);
const staysAbove = remembering(NOT_DOWN, NOT_DOWN_PREFIXES);

/** Names are few and come again and again; strangers' names must not fill the memory. */
const MOST_REMEMBERED = 500;

/** @returns whether a name is one of these, or begins like one; what was found is remembered. */
function remembering(names: ReadonlySet<string>, prefixes: readonly string[]): (name: string) => boolean {
  const known = new Map<string, boolean>();
  return (name) => {
    let goes = known.get(name);
    if (goes === undefined) {
      goes = names.has(name) || prefixes.some((prefix) => name.startsWith(prefix));
      if (known.size < MOST_REMEMBERED) known.set(name, goes);
    }
    return goes;
  };
}

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

/** @returns whether an operator may let a header through, by its name or its beginning with a `*`: some never go up. */
export function mayBeForwarded(pattern: string): boolean {
  return !staysHere(pattern.replace('*', ''));
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
