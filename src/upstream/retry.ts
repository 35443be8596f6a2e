/** Decides when a request is sent again: whether the try before may have run, and how long to wait. */

import { parseObject } from '../json/object.ts';
import { readStart } from './read-start.ts';

/** If the upstream asks for a longer wait than this, its answer goes to the caller, who can wait. Milliseconds. */
export const LONGEST_WAIT_MS = 10_000;
const FIRST_WAIT_MS = 500;
const LONGEST_BACKOFF_MS = 8_000;
const RETRYABLE: ReadonlySet<number> = new Set([408, 409]);
/** About the milliseconds that a connection takes. A try that fails sooner has failed before the request was sent. */
const CONNECT_MS = 50;
/** Statuses of a proxy that could not reach the upstream. */
export const NOT_REACHED: ReadonlySet<number> = new Set([521, 525, 526, 530]);
/** Statuses of a proxy that has stopped waiting. The upstream may still be working on the request. */
const GAVE_UP: ReadonlySet<number> = new Set([408, 499]);

/**
 * Decides whether a request without an answer may have reached the upstream. The runtime throws the same error for a refused
 * connection and for one that broke later, so the time decides. Only failures of DNS and TLS have errors of their own; they
 * happen before anything is sent.
 */
export function wasSent(failure: unknown, elapsedMs: number): boolean {
  if (elapsedMs <= CONNECT_MS) return false;
  return !(failure instanceof Error && /\b(DNS|TLS|SSL|certificate)\b/i.test(failure.message));
}

/**
 * Decides whether a request that was answered with an error may have run at the upstream, and may be billed.
 *
 * @param isApiError whether the body is an error as the API writes it
 * @param elapsedMs milliseconds from sending to the headers. If the answer came at once, the upstream did no work
 */
export function mayHaveRun(
  { status, headers }: Pick<Response, 'status' | 'headers'>,
  { isApiError, elapsedMs }: { isApiError: boolean; elapsedMs: number },
): boolean {
  if (elapsedMs <= CONNECT_MS || isApiError || headers.has('request-id')) return false;
  return GAVE_UP.has(status) || (status >= 500 && !NOT_REACHED.has(status));
}

/** Decides whether a refused request may have run. If that depends on the body, it reads as much of it as needed. */
export async function readRefusal(
  response: Response,
  elapsedMs: number,
): Promise<{ mayHaveRun: boolean; response: Response }> {
  if (!mayHaveRun(response, { isApiError: false, elapsedMs })) {
    await response.body?.cancel();
    return { mayHaveRun: false, response };
  }
  const { text, response: whole } = await readStart(response);
  return { mayHaveRun: mayHaveRun(response, { isApiError: isApiError(text), elapsedMs }), response: whole };
}

/** @returns whether a text is an error as the API writes it. */
export function isApiError(text: string): boolean {
  return parseObject(text)?.type === 'error';
}

/** @returns milliseconds to wait before the next try; undefined if there must be no other try. */
export function waitBeforeRetry(
  response: Pick<Response, 'status' | 'headers'> | undefined,
  attempt: number,
  random: () => number = Math.random,
): number | undefined {
  const backoff = Math.min(FIRST_WAIT_MS * 2 ** attempt, LONGEST_BACKOFF_MS) * (1 - random() * 0.25);
  if (!response) return backoff;
  const { status, headers } = response;
  if (status < 400) return undefined;
  const shouldRetry = headers.get('x-should-retry');
  if (shouldRetry === 'false') return undefined;
  const asked = retryAfterMs(headers);
  if (asked !== undefined && asked > LONGEST_WAIT_MS) return undefined;
  if (shouldRetry === 'true' || RETRYABLE.has(status) || status >= 500) return asked ?? backoff;
  return status === 429 ? asked : undefined;
}

/** @returns the milliseconds that an upstream asks to wait; undefined if it does not ask. */
export function retryAfterMs(headers: Headers): number | undefined {
  const milliseconds = headers.get('retry-after-ms');
  if (milliseconds !== null && milliseconds.trim() !== '' && Number(milliseconds) >= 0) return Number(milliseconds);
  const value = headers.get('retry-after');
  if (value === null || value.trim() === '') return undefined;
  // Numbers come before dates, because `Date.parse` accepts even "-5" as a date.
  if (!Number.isNaN(Number(value))) return Number(value) >= 0 ? Number(value) * 1_000 : undefined;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}
