/** Finds rows of the setting PRICES that no model has: often the name is misspelt. */
import { undated } from '../src/edge/claude/pricing/models.ts';

/**
 * Compares the rows with the upstream's models.
 *
 * @param priced the names of the rows
 * @param listed the ids of the upstream's models
 * @returns the names that no model has, with or without a date
 */
export function unlistedPrices(priced: readonly string[], listed: readonly string[]): string[] {
  const known = new Set(listed.flatMap((id) => [id, undated(id)]));
  return priced.filter((name) => !known.has(name) && !known.has(undated(name)));
}

/**
 * Asks the edge for its upstream's models.
 *
 * @param listModels fetches `/v1/models` of the edge
 * @returns a warning about the rows; undefined if all are right
 */
export async function judgePrices(
  priced: readonly string[],
  listModels: () => Promise<Response>,
): Promise<string | undefined> {
  if (priced.length === 0) return undefined;
  const response = await listModels();
  if (!response.ok) {
    return `The names in PRICES were not checked: the upstream's list of models could not be read (${response.status}).`;
  }
  const { data } = (await response.json()) as { data: { id: string }[] };
  const unlisted = unlistedPrices(
    priced,
    data.map(({ id }) => id),
  );
  if (unlisted.length === 0) return undefined;
  return `PRICES names ${unlisted.join(', ')}, which the upstream does not list. A row for a name that is misspelt prices nothing.`;
}
