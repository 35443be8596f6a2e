/** Request headers that are never sent up, with the reasons. */
const NOT_FORWARDED: ReadonlySet<string> = new Set([
  // These contain the caller's credentials for Sluice, which the upstream must not see.
  'authorization',
  'x-api-key',
  'proxy-authorization',
  'proxy-authenticate',
  'ocp-apim-subscription-key',
  'cookie',
  // These hop-by-hop headers apply to one connection only. (`expect` is one of them: the upstream's `100 Continue` would be
  // mistaken for the response.)
  'connection',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'host',
  'content-length',
  'expect',
  // These describe the caller's browser, network address or proxies, which are private.
  'origin',
  'referer',
  'anthropic-dangerous-direct-browser-access',
  'forwarded',
  'x-real-ip',
  'true-client-ip',
  'x-client-ip',
  'x-cluster-client-ip',
  'x-azure-clientip',
  'fastly-client-ip',
  // The upstream receives this key in a form that includes the account, because two accounts may choose the same key.
  'idempotency-key',
  // These could make the upstream, or a proxy in front of it, read a different request than the one checked here.
  'content-encoding',
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
  'x-http-path-override',
  'x-original-url',
  'x-rewrite-url',
  'x-original-host',
  'x-host',
  // The upstream could answer a conditional or range request with a part of the response, or without a body.
  'if-none-match',
  'if-modified-since',
  'if-match',
  'if-range',
  'range',
  // Sluice reads usage from the response, so the upstream must not compress it. Cloudflare compresses the response for the
  // caller.
  'accept-encoding',
]);
const NOT_FORWARDED_PREFIXES = ['sec-', 'cf-', 'x-forwarded-', 'sluice-'];

/** The most remembered names. The same few names occur again and again; invented names must not fill the memory. */
const MAX_MEMOIZED_NAMES = 500;

/** @returns a function that checks whether a name is one of these, or has one of these prefixes; it caches its results. */
export function createHeaderNameMatcher(
  names: ReadonlySet<string>,
  prefixes: readonly string[],
): (name: string) => boolean {
  const answers = new Map<string, boolean>();
  return (name) => {
    let matches = answers.get(name);
    if (matches === undefined) {
      matches = names.has(name) || prefixes.some((prefix) => name.startsWith(prefix));
      if (answers.size < MAX_MEMOIZED_NAMES) answers.set(name, matches);
    }
    return matches;
  };
}

/** @returns whether a header is never sent. */
export const isNeverForwarded = createHeaderNameMatcher(NOT_FORWARDED, NOT_FORWARDED_PREFIXES);

/** @returns whether FORWARD_HEADERS may name a header (or a prefix with a `*`): some are never sent. */
export function canHeaderBeForwarded(pattern: string): boolean {
  return !isNeverForwarded(pattern.replace('*', ''));
}
