/** Headers that have a meaning for one service or gateway, and must not go to any other. */

import type { CallHeaders } from './provider.ts';

/** With these a caller could choose a provider, a key or a rule of a gateway, or change what a service signs and bills. */
export const CONTROL_HEADER_PREFIXES = [
  'x-portkey-',
  'helicone-',
  'x-litellm-',
  'x-bf-',
  'x-goog-',
  'x-amz-',
  'x-amzn-',
  'x-envoy-',
] as const;

const CREDENTIAL_HEADERS: ReadonlySet<string> = new Set([
  'authorization',
  'x-api-key',
  'api-key',
  'ocp-apim-subscription-key',
]);
/** Headers of a service that have no influence on credentials or bills. */
const SAFE_SERVICE_HEADERS = 'x-amzn-';

/**
 * Filters headers for a service that is not a gateway. FORWARD_HEADERS may let more headers up, but those are meant for the
 * gateway of another upstream.
 */
export function filterHeadersForCloudService(headers: CallHeaders): CallHeaders {
  const own: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (CREDENTIAL_HEADERS.has(name)) continue;
    if (!name.startsWith(SAFE_SERVICE_HEADERS) && CONTROL_HEADER_PREFIXES.some((prefix) => name.startsWith(prefix)))
      continue;
    own[name] = value;
  }
  return own;
}

/** @returns the path of a call. Of a message's query only `beta` is signed with the operator's key, and nothing else of a caller */
export function toSignedPath(path: string): string {
  const [route = '', query = ''] = path.split('?', 2);
  if (!route.startsWith('/v1/messages') || route.startsWith('/v1/messages/batches')) return path;
  const parts = query.split('&').filter((part) => /^beta(?:=|$)/.test(part));
  return parts.length > 0 ? `${route}?${parts.join('&')}` : route;
}
