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
  // The copy that is metered must be readable here; the platform compresses towards the caller by itself.
  'accept-encoding',
]);
const NOT_UP_PREFIXES = ['sec-', 'cf-', 'x-forwarded-', 'sluice-'];

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
]);
const NOT_DOWN_PREFIXES = ['anthropic-ratelimit-', 'access-control-', 'cf-'];

const staysHere = remembering(NOT_UP, NOT_UP_PREFIXES);
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

/**
 * @param caller the caller's headers
 * @param apiKey the deployment's key, which takes the place of the caller's credential
 * @returns the headers that go up: the caller's own, known or not, but for those that must not
 */
export function headersUp(caller: Headers, apiKey: string): Headers {
  const up = new Headers(caller);
  remove(up, caller, staysHere);
  up.set('x-api-key', apiKey);
  up.set('accept-encoding', 'identity');
  if (!up.has('anthropic-version')) up.set('anthropic-version', DEFAULT_VERSION);
  return up;
}

/**
 * @param upstream the upstream's response headers
 * @returns the headers that go down to the caller
 */
export function headersDown(upstream: Headers): Headers {
  const down = new Headers(upstream);
  remove(down, upstream, staysAbove);
  return down;
}

/** @returns the same as plain text by their names, for where they must be kept or cross to another object. */
export function headersKept(upstream: Headers, without: ReadonlySet<string>): Record<string, string> {
  const listed = upstream.get('connection')?.toLowerCase().split(',') ?? [];
  const ofConnection = listed.map((name) => name.trim());
  const entries = [...upstream].filter(
    ([name]) => !staysAbove(name) && !without.has(name) && !ofConnection.includes(name),
  );
  return Object.fromEntries(entries);
}

/**
 * @param body what takes the place of the upstream's body
 * @returns the upstream's response with only the headers that go down
 */
export function responseDown(upstream: Response, body: ReadableStream | Uint8Array): Response {
  // Made from the response itself, its headers are copied once, not twice.
  const down = new Response(body, upstream);
  remove(down.headers, upstream.headers, staysAbove);
  return down;
}

/** Only the few headers that must go are touched one by one: the copies are made by the runtime at once. */
function remove(from: Headers, given: Headers, goes: (name: string) => boolean): void {
  for (const name of given.keys()) if (goes(name)) from.delete(name);
  // What `connection` names is the connection's too.
  for (const name of given.get('connection')?.split(',') ?? []) {
    if (/^[\w!#$%&'*+.^`|~-]+$/.test(name.trim())) from.delete(name.trim());
  }
}
