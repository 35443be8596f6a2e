import { ApiError, DO_NOT_RETRY } from '../errors.ts';
import type { Upstream } from './upstream.ts';

/** A wait that the upstream asks for and that is longer than this is the caller's to make. */
const LONGEST_WAIT_MS = 10_000;
const FIRST_WAIT_MS = 500;
const LONGEST_BACKOFF_MS = 8_000;
const RETRYABLE: ReadonlySet<number> = new Set([408, 409]);

export interface SendRequest {
  method: string;
  /** Path and query, beginning with `/v1`. */
  path: string;
  headers: HeadersInit;
  body?: BodyInit | undefined;
}

export interface SendOptions {
  maxRetries: number;
  /** For all tries together, until the headers of the last one. */
  timeoutMs: number;
  /** The caller aborts the controller by itself when that time is up. */
  isWatched?: boolean;
  /** Aborted by the caller when nobody waits any more, and here when time is up; it cancels the body as well. */
  controller: AbortController;
}

/**
 * Sends a request upstream, and again before the first byte while the failure is transient.
 *
 * @returns the upstream's last response, whatever its status
 * @throws ApiError `timeout_error` when no headers came in time, `api_error` when the network failed to the last
 * @throws the signal's reason when it is aborted
 */
export async function send(upstream: Upstream, request: SendRequest, options: SendOptions): Promise<Response> {
  const { controller, timeoutMs, isWatched } = options;
  const timer = isWatched ? undefined : setTimeout(() => controller.abort(late()), timeoutMs);
  try {
    return await sendUntil(upstream, request, options, Date.now() + timeoutMs);
  } catch (thrown) {
    throw controller.signal.aborted ? controller.signal.reason : thrown;
  } finally {
    if (timer !== undefined) clearTimeout(timer);
  }
}

async function sendUntil(
  upstream: Upstream,
  request: SendRequest,
  { maxRetries, controller: { signal } }: SendOptions,
  deadline: number,
): Promise<Response> {
  for (let attempt = 0; ; attempt += 1) {
    const last = attempt >= maxRetries;
    let response: Response | undefined;
    let failure: unknown;
    try {
      response = await upstream.fetch(upstream.baseURL + request.path, {
        method: request.method,
        headers: request.headers,
        body: request.body ?? null,
        redirect: 'manual',
        signal,
      });
    } catch (thrown) {
      if (signal.aborted) throw thrown;
      failure = thrown;
    }
    const wait = last ? undefined : waitBeforeRetry(response, attempt);
    if (wait === undefined || Date.now() + wait >= deadline) {
      if (response) return response;
      throw unreachable(failure);
    }
    await response?.body?.cancel();
    await sleep(wait, signal);
  }
}

/** @returns the milliseconds to wait before the next try, or undefined if there must be none. */
export function waitBeforeRetry(
  response: Pick<Response, 'status' | 'headers'> | undefined,
  attempt: number,
  random: () => number = Math.random,
): number | undefined {
  const backoff = Math.min(FIRST_WAIT_MS * 2 ** attempt, LONGEST_BACKOFF_MS) * (1 - random() * 0.25);
  if (!response) return backoff;
  const { status, headers } = response;
  if (status < 400) return undefined;
  const verdict = headers.get('x-should-retry');
  if (verdict === 'false') return undefined;
  const asked = retryAfterMs(headers);
  if (asked !== undefined && asked > LONGEST_WAIT_MS) return undefined;
  if (verdict === 'true' || RETRYABLE.has(status) || status >= 500) return asked ?? backoff;
  return status === 429 ? asked : undefined;
}

function retryAfterMs(headers: Headers): number | undefined {
  const milliseconds = headers.get('retry-after-ms');
  if (milliseconds !== null && milliseconds.trim() !== '' && Number(milliseconds) >= 0) return Number(milliseconds);
  const value = headers.get('retry-after');
  if (value === null || value.trim() === '') return undefined;
  // Asked first: to `Date.parse` even "-5" is a date.
  if (!Number.isNaN(Number(value))) return Number(value) >= 0 ? Number(value) * 1_000 : undefined;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}

/** @returns the error for an upstream whose headers did not come in time. */
export function late(): ApiError {
  return new ApiError('timeout_error', 'The upstream did not answer in time. Try again, or stream the answer.', {
    logged: 'upstream_timeout',
  });
}

function unreachable(cause: unknown): ApiError {
  return new ApiError('api_error', 'The upstream could not be reached. Try again in a moment.', {
    logged: `upstream_unreachable: ${cause instanceof Error ? cause.message : 'unknown'}`,
    cause,
  });
}

/** @returns the error for an upstream that answers with a redirect: following it would hand the key to another host. */
export function redirected(): ApiError {
  return new ApiError(
    'api_error',
    'The upstream answered with a redirect. Its operator must set ANTHROPIC_BASE_URL to the final address.',
    { headers: DO_NOT_RETRY, logged: 'upstream_redirect' },
  );
}

function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop);
      resolve();
    }, milliseconds);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
}
