import { ApiError, type ErrorType, upstreamRefusedKey } from '../errors.ts';
import type { Settings } from '../settings.ts';
import { headersUp } from './headers.ts';
import { send } from './send.ts';
import type { Upstream } from './upstream.ts';

export interface Counting {
  upstream: Upstream;
  settings: Settings;
  /** The caller's, for the version and the betas in them. */
  headers: Headers;
}

const COUNT_TIMEOUT_MS = 30_000;
/** What the caller can mend is told in the upstream's own words. */
const CALLERS: ReadonlyMap<number, ErrorType> = new Map([
  [400, 'invalid_request_error'],
  [404, 'not_found_error'],
  [413, 'request_too_large'],
]);

/**
 * Has the upstream count the tokens of a prompt.
 *
 * @param body JSON, with what counting takes and nothing else
 * @throws ApiError as the upstream refuses the prompt; 503 while it cannot count
 */
export async function countTokens(
  body: string | Uint8Array,
  { upstream, settings, headers }: Counting,
): Promise<number> {
  const up = headersUp(headers, upstream.apiKey);
  up.set('content-type', 'application/json');
  up.delete('idempotency-key');
  const response = await send(
    upstream,
    { method: 'POST', path: '/v1/messages/count_tokens', headers: up, body },
    { maxRetries: settings.UPSTREAM_MAX_RETRIES, timeoutMs: COUNT_TIMEOUT_MS, controller: new AbortController() },
  );
  const answer = (await response.json().catch(() => null)) as {
    input_tokens?: unknown;
    error?: { message?: unknown };
  } | null;
  const { status } = response;
  const tokens = answer?.input_tokens;
  if (response.ok && typeof tokens === 'number' && Number.isSafeInteger(tokens) && tokens >= 0) return tokens;
  if (status === 401 || status === 402 || status === 403) throw upstreamRefusedKey();
  const type = CALLERS.get(status);
  const message = answer?.error?.message;
  if (type !== undefined && typeof message === 'string') throw new ApiError(type, message);
  throw new ApiError('api_error', 'The upstream cannot count this prompt at the moment. Try again.', {
    status: 503,
    headers: { 'retry-after': '5' },
    logged: `count_failed: ${status}`,
  });
}
