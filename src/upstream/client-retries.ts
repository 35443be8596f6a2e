/**
 * Who sends a request again after a failure. Where the client does, the edge does not: three tries of each would make
 * nine requests of one, just when the upstream is overloaded.
 */

/** How a try failed: nothing of it was sent, it may have run at the upstream, or the upstream answered with an error. */
export type FailedTry = 'not_sent' | 'may_have_run' | 'answered';

/**
 * Clients that try again by themselves and do not say so: the Vercel AI SDK, as `ai/…` or by the name of its provider.
 * (The official SDKs count their tries in a header, Claude Code and LangChain by them.)
 */
const RETRYING_AGENTS = /(^|\s)(ai|ai-sdk[/-][\w.-]+)\/\d/i;

/**
 * @param headers the caller's: a `Headers`, or a plain object by names in lower case
 * @returns whether the client sends a failed request again; a client that was configured not to looks the same
 */
export function retriesByItself(headers: Headers | Readonly<Record<string, string>>): boolean {
  const read = (name: string) => (headers instanceof Headers ? headers.get(name) : headers[name]) ?? '';
  return /^\d+$/.test(read('x-stainless-retry-count').trim()) || RETRYING_AGENTS.test(read('user-agent'));
}

/**
 * Decides whether the edge itself may send a request again, as far as its client is concerned.
 *
 * @returns true for a client that does not retry, and for a connection that failed before anything was sent: another try
 * costs nothing then, and the client would wait longer before its own
 */
export function mayRepeat(headers: Headers | Readonly<Record<string, string>>, failed: FailedTry): boolean {
  return failed === 'not_sent' || !retriesByItself(headers);
}
