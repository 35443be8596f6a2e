import type { AlertRow, EventRow } from '../../edge/answers.ts';
import { formatRowTime } from '../ui/format.ts';

/**
 * Describes how often a delivery has failed, when it is tried next, and why it failed.
 *
 * @returns an empty text where nothing has failed: `tried 5 times, next try 30 Nov, 23:40: the receiver answered 503`
 */
export function describeFailedAttempts({
  attempts,
  next_attempt_at: next,
  error,
}: Pick<AlertRow | EventRow, 'attempts' | 'next_attempt_at' | 'error'>): string {
  if (!error) return '';
  const often = `tried ${attempts === 1 ? 'once' : `${attempts} times`}`;
  const then = next === null ? 'not tried again' : `next try ${formatRowTime(next)}`;
  return `${often}, ${then}: ${error.message}`;
}
