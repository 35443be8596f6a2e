/** Names the limit because of which `max_tokens` or `max_uses` was lowered, for the caller. */

import type { LoweredBy } from '../contracts/lowered-by.schema.ts';
import { type BudgetWindow, computeAmountLeft } from './budget-windows.ts';
import type { Budget } from './state.ts';
import { NEVER } from './windows.ts';

/**
 * @param requestWindows the limit of the request itself, all of which it may hold
 * @param divisor into how many parts the payers' free money is divided, of which the request may hold one
 * @returns the limit that leaves the least to the request; of several, the one that does so for the longest time
 */
export function findTightestLimit(
  budgetWindows: readonly BudgetWindow[],
  requestWindows: readonly BudgetWindow[],
  divisor: number,
): LoweredBy | undefined {
  const all = [
    ...budgetWindows.map((window) => ({ window, left: Math.floor(computeAmountLeft(window) / divisor) })),
    ...requestWindows.map((window) => ({ window, left: computeAmountLeft(window) })),
  ];
  const [first] = all.sort((one, other) => one.left - other.left || other.window.end - one.window.end);
  return first && { by: first.window.by, limit: first.window.name, resets_at: formatResetTime(first.window.end) };
}

export function createLoweredByOutputRate({ fullAt: { output } }: Budget, time: number): LoweredBy {
  // If the bucket is already full, waiting does not allow more output, so report no reset time.
  return {
    by: 'account',
    limit: 'output_tokens_per_minute',
    resets_at: formatResetTime(output > time ? output : NEVER),
  };
}

function formatResetTime(end: number): string | null {
  return end >= NEVER ? null : new Date(end).toISOString();
}
