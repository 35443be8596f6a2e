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

/** Names are few and come again and again; strangers' names must not fill the memory. */
const MOST_REMEMBERED = 500;

/** @returns whether a name is one of these, or begins like one; what was found is remembered. */
export function remembering(names: ReadonlySet<string>, prefixes: readonly string[]): (name: string) => boolean {
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

/** @returns whether a header never goes up. */
export const staysHere = remembering(NOT_UP, NOT_UP_PREFIXES);

/** @returns whether an operator may let a header through, by its name or its beginning with a `*`: some never go up. */
export function mayBeForwarded(pattern: string): boolean {
  return !staysHere(pattern.replace('*', ''));
}
