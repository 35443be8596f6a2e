import { createInvalidRequestError } from './errors.ts';

/** One page of a list, in the API's form. */
export interface ApiPage<Row> {
  data: Row[];
  has_more: boolean;
  first_id: string | null;
  last_id: string | null;
}

/**
 * Reads the query `limit`.
 * @throws ApiError 400 for what is no whole number from 1 to 1,000.
 */
export function parsePageLimit(query: URLSearchParams): number {
  const text = query.get('limit');
  if (text === null) return 20;
  if (!/^[+-]?\d+$/.test(text)) throw createInvalidRequestError('limit: Input should be a valid integer');
  const limit = Number(text);
  if (limit < 1) throw createInvalidRequestError('limit: Input should be greater than or equal to 1');
  if (limit > 1000) throw createInvalidRequestError('limit: Input should be less than or equal to 1000');
  return limit;
}

/**
 * Cuts a page out of a list, by `limit`, `after_id` and `before_id`.
 * @param name what the list has, for the error.
 * @throws ApiError 400 for a bad `limit`, an unknown cursor, or both cursors at once.
 */
export function createPage<Row extends { id: string }>(
  rows: readonly Row[],
  query: URLSearchParams,
  name: string,
): ApiPage<Row> {
  const limit = parsePageLimit(query);
  const after = query.get('after_id');
  const before = query.get('before_id');
  if (after !== null && before !== null)
    throw createInvalidRequestError('Only one of after_id and before_id may be given');
  const cursor = after ?? before;
  const at = cursor === null ? -1 : rows.findIndex(({ id }) => id === cursor);
  if (cursor !== null && at === -1) {
    throw createInvalidRequestError(
      `${after === null ? 'before_id' : 'after_id'}: no ${name} has the id ${cursor.slice(0, 100)}`,
    );
  }
  const from = before === null ? at + 1 : Math.max(0, at - limit);
  const to = before === null ? from + limit : at;
  return createSinglePage(rows.slice(from, to), before === null ? to < rows.length : from > 0);
}

export function createSinglePage<Row extends { id: string }>(data: Row[], has_more: boolean): ApiPage<Row> {
  return { data, has_more, first_id: data.at(0)?.id ?? null, last_id: data.at(-1)?.id ?? null };
}
