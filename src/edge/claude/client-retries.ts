/**
 * Decides who sends a request again after a failure. If the client does, the edge does not: three attempts by each would turn
 * one request into nine, just when the upstream is overloaded.
 */

import { isAiSdkUserAgent } from '../kit/http/headers/client-family.ts';

/**
 * The Vercel AI SDK retries by itself without saying so. The official SDKs, which Claude Code and LangChain use, count their
 * attempts in a header.
 *
 * @param headers the caller's: a `Headers`, or a plain object by names in lower case
 * @returns whether the client sends a failed request again. (A client that was configured not to retry looks the same.)
 */
export function isSelfRetryingClient(headers: Headers | Readonly<Record<string, string>>): boolean {
  const readHeader = (name: string) => (headers instanceof Headers ? headers.get(name) : headers[name]) ?? '';
  return /^\d+$/.test(readHeader('x-stainless-retry-count').trim()) || isAiSdkUserAgent(readHeader('user-agent'));
}

/**
 * Decides, by the client, whether the edge itself may send a request again.
 *
 * @param caller the headers of the client; undefined if the request is the edge's own
 * @param isReached whether the failed attempt has reached an upstream
 * @returns true for a client that does not retry, and if no upstream was reached: then another attempt costs nothing, and the
 *   client would wait longer before its own retry
 */
export function canEdgeRetryForClient(
  caller: Headers | Readonly<Record<string, string>> | undefined,
  isReached: boolean,
): boolean {
  return !isReached || caller === undefined || !isSelfRetryingClient(caller);
}
