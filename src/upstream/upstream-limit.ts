import { ApiError } from '../http/errors.ts';

/** What of the upstream's 429 is the caller's to know: when to try again, and by which id the operator finds it. */
const TOLD = ['retry-after', 'retry-after-ms', 'x-should-retry', 'request-id'];

/**
 * @returns the 429 of an upstream in words of this edge: its own speak of the operator's organization and limits, which
 * are none of the caller's business
 */
export function upstreamLimited(upstream: Headers): ApiError {
  const headers: Record<string, string> = { 'sluice-limited-by': 'upstream' };
  for (const name of TOLD) {
    const value = upstream.get(name);
    if (value !== null) headers[name] = value;
  }
  const seconds = Number(upstream.get('retry-after') ?? Number.NaN);
  const when = seconds > 0 ? `in ${Math.ceil(seconds)} s` : 'in a moment';
  const message = `The upstream takes no more from this deployment at the moment. Try again ${when}.`;
  return new ApiError('rate_limit_error', message, { headers });
}
