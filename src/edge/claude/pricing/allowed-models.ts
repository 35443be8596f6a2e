/** The models that an account with the limit `models` may use. */
import type { ModelTable } from '../models/models.ts';

/** The maximum of names in the sentence of an error. */
const MAX_LISTED_MODELS = 10;

/** @returns whether a request for this name may be admitted: by that name, or by any other name of the model. */
export function canUseModel(name: string, allowed: readonly string[], models: ModelTable): boolean {
  const row = models.findRow(name);
  return [name, models.resolveAlias(name), ...(row ? [row.id, ...row.aliases] : [])].some((one) =>
    allowed.includes(one),
  );
}

/**
 * @param rows every model of the upstream
 * @param allowed the account's limit `models`
 * @returns the models that may be used. A model that is allowed only by an alias of this deployment is listed under the alias
 */
export function filterAllowedModels<T extends { id: string }>(
  rows: readonly T[],
  allowed: readonly string[],
  models: ModelTable,
): T[] {
  return rows.flatMap((row) => {
    if (canUseModel(row.id, allowed, models)) return [row];
    const aliases = allowed.filter(
      (name) => models.resolveAlias(name) === row.id && rows.every(({ id }) => id !== name),
    );
    return aliases.map((id) => ({ ...row, id }));
  });
}

/** @returns the sentence of a rejection that lists the models which may be used instead. */
export function describeAllowedModels(allowed: readonly string[]): string {
  if (allowed.length === 0) return 'Its limit `models` allows none. Ask an admin to change it.';
  const named = allowed.slice(0, MAX_LISTED_MODELS).join(', ');
  const more = allowed.length - MAX_LISTED_MODELS;
  return `It can use ${named}${more > 0 ? ` and ${more} more, which GET /models lists` : ''}.`;
}
