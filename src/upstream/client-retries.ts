/** Who tries again: where the client does, the edge does not as well, or an overload gets nine requests for one. */

/** How a try failed: nothing of it went up, it may have run there, or the upstream itself answered with an error. */
export type FailedTry = 'not_sent' | 'may_have_run' | 'answered';

/**
 * Clients that try again by themselves and do not say so: the Vercel AI SDK, as `ai/…` or by the name of its provider.
 * (The official SDKs count their tries in a header, Claude Code and LangChain by them.)
 */
const RETRYING_AGENTS = /(^|\s)(ai|ai-sdk[/-][\w.-]+)\/\d/i;

/**
 * @param headers the caller's, as objects of the runtime have them or by their names in small letters
 * @returns whether the client sends a request again that has failed; one that was told not to says nothing of it
 */
export function retriesByItself(headers: Headers | Readonly<Record<string, string>>): boolean {
  const read = (name: string) => (headers instanceof Headers ? headers.get(name) : headers[name]) ?? '';
  return /^\d+$/.test(read('x-stainless-retry-count').trim()) || RETRYING_AGENTS.test(read('user-agent'));
}

/**
 * Decides whether the edge itself may send a request again, as far as its client is concerned.
 *
 * @returns true for a client that does not try again, and for a connection that failed before anything was sent: that
 * costs the upstream nothing, and a client would wait for longer
 */
export function mayRepeat(headers: Headers | Readonly<Record<string, string>>, failed: FailedTry): boolean {
  return failed === 'not_sent' || !retriesByItself(headers);
}
