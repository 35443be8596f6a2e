/** Reads from an error what limited a request. The one place that does: whatever waits, tries again or gives up asks here. */

import { HOUR_MS } from '../../async/durations.ts';
import type { LimitOwner } from '../../durable/contracts/admission.ts';
import type { ApiError } from '../../http/errors.ts';

/** What limited a request, and whether that passes. */
interface Limitation {
  /** Whose limit it was: the account's, its pools', its token's or run's; undefined if it was the upstream's, or none at all. */
  by: LimitOwner | undefined;
  isLimited: boolean;
  /** `soon`: a rate, or what others hold; `later`: once a window begins, or batches have ended; `never`: by itself not at all. */
  passes: 'soon' | 'later' | 'never';
  /** When it makes sense to try again, in milliseconds since 1970; null if that is not known. */
  retryAt: number | null;
}

/**
 * Says of an error what limited it, and whether that passes. The headers say it, since they are all that comes from another
 * object.
 */
export function whatLimited({ headers }: Pick<ApiError, 'headers'>, now = Date.now()): Limitation {
  const by = headers['sluice-limited-by'];
  const seconds = Number(headers['retry-after'] ?? Number.NaN);
  const after = Number.isFinite(seconds) ? now + seconds * 1_000 : null;
  const own = by === 'upstream' ? undefined : (by as LimitOwner | undefined);
  const limited = { by: own, isLimited: by !== undefined };
  if (headers['x-should-retry'] !== 'false') return { ...limited, passes: 'soon', retryAt: after };
  if (after !== null) return { ...limited, passes: 'later', retryAt: after };
  // What never resets has no time. Somebody may add credit.
  const isSpent = headers['anthropic-ratelimit-unified-status'] === 'rejected';
  return { ...limited, passes: isSpent ? 'later' : 'never', retryAt: isSpent ? now + HOUR_MS : null };
}
