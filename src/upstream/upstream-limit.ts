import { ApiError } from '../http/errors.ts';

/**
 * The headers of the upstream's 429 that the caller gets: when to try again, and the id by which the operator can find it.
 */
const PASSED_ON = ['retry-after', 'retry-after-ms', 'x-should-retry', 'request-id'];

/**
 * Makes a 429 with the edge's own words. The upstream's words name the operator's organization and limits, which callers must
 * not see.
 */
export function upstreamLimited(upstream: Headers): ApiError {
  const headers: Record<string, string> = { 'sluice-limited-by': 'upstream' };
  for (const name of PASSED_ON) {
    const value = upstream.get(name);
    if (value !== null) headers[name] = value;
  }
  const seconds = Number(upstream.get('retry-after') ?? Number.NaN);
  const when = seconds > 0 ? `in ${Math.ceil(seconds)} s` : 'in a moment';
  const message = `The upstream takes no more from this deployment at the moment. Try again ${when}.`;
  return new ApiError('rate_limit_error', message, { headers });
}
