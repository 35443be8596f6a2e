/** Reads which models may step in for the one that a request asks for. */

import { invalidRequest } from '../../kit/http/errors.ts';
import { commaSeparated } from '../../kit/http/headers/comma-list.ts';
import { fallbackModels } from '../../money/budget/limits.schema.ts';

/**
 * Reads `sluice-fallback-models`: names, separated by commas.
 *
 * @returns undefined if the header is absent; an empty list if the request wants no fallback
 * @throws ApiError 400 for more models than may step in
 */
export function fallbacksNamed(headers: Headers): readonly string[] | undefined {
  const header = headers.get('sluice-fallback-models');
  if (header === null) return undefined;
  const names = commaSeparated(header);
  if (fallbackModels.safeParse(names).success) return names;
  throw invalidRequest('sluice-fallback-models: at most five models, separated by commas.');
}
