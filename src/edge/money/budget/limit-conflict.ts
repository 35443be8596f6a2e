/** Keeps two admins from overwriting each other's changes of limits. */

import { type ApiError, createNonRetryableError } from '../../kit/http/errors.ts';
import type { LimitConflict } from '../contracts/limit-conflict.ts';
import type { Limits, NullableLimits, PoolLimits } from './limits.schema.ts';

/** @returns the first limit that differs from `if_limits`; undefined if none does */
export function findLimitConflict<Some extends Limits | PoolLimits>(
  limits: Some,
  { if_limits: expected = {} }: { if_limits?: NullableLimits<Some> | undefined },
): LimitConflict | undefined {
  for (const [limit, value] of Object.entries<unknown>(expected)) {
    const current = (limits as Record<string, unknown>)[limit] ?? null;
    if (value !== undefined && JSON.stringify(current) !== JSON.stringify(value))
      return { limit, expected: value, current };
  }
  return undefined;
}

/** @returns the 409 for a change that another one has overtaken */
export function createLimitConflictError({ limit, expected, current }: LimitConflict): ApiError {
  const describe = (value: unknown) => (value === null ? 'not set' : JSON.stringify(value));
  return createNonRetryableError(
    'conflict_error',
    `${limit}: now ${describe(current)}, but \`if_limits\` expects ${describe(expected)}: the limit was changed in the meantime, so nothing was saved. If your change is still right, send it again with the current value in \`if_limits\`.`,
  );
}
