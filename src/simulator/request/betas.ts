import { findUnknownBetasFault } from '../../api-rules/betas.ts';
import { createInvalidRequestError } from './errors.ts';

/**
 * Reads the header `anthropic-beta`.
 * @throws ApiError 400 for a name that does not exist, unless it is newer than the list
 */
export function parseBetaHeader(header: string | null): string[] {
  const names = (header ?? '').split(',').flatMap((name) => name.trim() || []);
  const fault = findUnknownBetasFault(names);
  if (fault !== undefined) throw createInvalidRequestError(fault);
  return names;
}
