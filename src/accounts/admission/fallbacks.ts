/** The models that a request says may step in for the one it asks for. */

import { commaSeparated } from '../../http/comma-list.ts';
import { invalidRequest } from '../../http/errors.ts';
import { fallbackModels } from '../../settings/limits.schema.ts';

/**
 * Reads `sluice-fallback-models`: names, separated by commas.
 *
 * @returns undefined where the request does not say; empty where it wants none
 * @throws ApiError 400 for more models than may step in
 */
export function fallbacksNamed(headers: Headers): readonly string[] | undefined {
  const header = headers.get('sluice-fallback-models');
  if (header === null) return undefined;
  const names = commaSeparated(header);
  if (fallbackModels.safeParse(names).success) return names;
  throw invalidRequest('sluice-fallback-models: at most five models, separated by commas.');
}
