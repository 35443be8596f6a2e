/** Reads from an error what limited a request. All code that waits, retries or gives up uses this function. */

import { HOUR_MS } from '../../kit/async/durations.ts';
import type { ApiError } from '../../kit/http/errors.ts';
import type { LimitOwner } from '../contracts/admission.ts';

interface LimitingCause {
  /** Whose limit it was; undefined if it was none, or a shared budget was too busy. */
  by: LimitOwner | 'upstream' | undefined;
  /** Whether it was a limit of this edge, or a budget of it that was too busy. */
  isOwn: boolean;
  /** `soon`: a rate, or what others hold; `later`: once a window begins, or batches have ended; `never`: by itself not at all. */
  passes: 'soon' | 'later' | 'never';
  /** When it makes sense to try again, in milliseconds since 1970; null if that is not known. */
  retryAt: number | null;
}

/**
 * Reads from an error what limited the request, and whether that passes. Only its headers are used, because errors of other
 * objects have nothing else.
 */
export function parseLimitingCause(
  { type, headers }: { type?: string; headers: ApiError['headers'] },
  now = Date.now(),
): LimitingCause {
  const by = headers['sluice-limited-by'] as LimitingCause['by'];
  const isOwn = by === undefined ? type === 'rate_limit_error' : by !== 'upstream';
  const seconds = Number(headers['retry-after'] ?? Number.NaN);
  // A total limit never resets, so the response has no `retry-after`. Credit may be added at any time, so retry after an hour.
  const isSpent = headers['anthropic-ratelimit-unified-status'] === 'rejected';
  const after = Number.isFinite(seconds) ? seconds * 1_000 : isSpent ? HOUR_MS : null;
  const passes = headers['x-should-retry'] !== 'false' ? 'soon' : after === null ? 'never' : 'later';
  return { by, isOwn, passes, retryAt: after === null ? null : now + after };
}

/** @returns whether an error of this type means that an upstream or an account was too busy. */
export function isBusyErrorType(type: string | undefined): boolean {
  return type === 'rate_limit_error' || type === 'overloaded_error';
}
