import { createInvalidRequestError } from './errors.ts';
import { validateBySchema } from './validate.ts';
import * as z from './zod.ts';

/** An integer as a query contains it: in decimal digits, without spaces, exponents or other bases. */
const INTEGER = /^-?\d+$/;

/** @returns a schema of an integer in a query. @param integer checks its range */
function createQueryIntegerSchema<T extends z.ZodMiniNumber>(integer: T) {
  return z.pipe(
    z.transform((value: unknown) => (typeof value === 'string' && INTEGER.test(value) ? Number(value) : value)),
    integer,
  );
}

const positiveInteger = z
  .number({ error: 'Input should be a valid integer' })
  .check(z.int('Input should be a valid integer'), z.gte(1, 'Input should be greater than or equal to 1'));

/** How many rows are listed at most, in a query. */
export const limitSchema = createQueryIntegerSchema(positiveInteger);

/** A parameter without a value, such as `?strict`. */
export const flagSchema = z.literal('', { error: 'Send this parameter without a value' });

/** The query of a list. */
export const pageSchema = z.object({
  limit: z._default(
    createQueryIntegerSchema(positiveInteger.check(z.lte(1_000, 'Input should be less than or equal to 1000'))),
    20,
  ),
  after_id: z.createOptionalField(z.string().check(z.minLength(1)), 'Returns the page after the row with this id.'),
  before_id: z.createOptionalField(z.string().check(z.minLength(1)), 'Returns the page before the row with this id.'),
});

/** Which page of a list is asked for, in the form of Anthropic's lists. */
export type ListPageQuery = z.output<typeof pageSchema>;

/**
 * Reads `limit`, `after_id` and `before_id` from a query.
 *
 * @throws ApiError 400 for a limit outside of 1 to 1,000, or for both ids at once
 */
export function parsePageQuery(query: Record<string, string>): ListPageQuery {
  const page = validateBySchema(pageSchema, query);
  if (page.after_id !== undefined && page.before_id !== undefined) {
    throw createInvalidRequestError('Send after_id or before_id, not both.');
  }
  return page;
}

export function createListResponseSchema<T extends z.ZodMiniType>(row: T) {
  return z.object({
    data: z.addDescription(z.array(row), 'The rows of the page.'),
    has_more: z.addDescription(z.boolean(), 'Whether more rows follow in the direction of paging.'),
    first_id: z.addDescription(
      z.nullable(z.string()),
      'The id of the first row of the page, for `before_id`. Null if the page is empty.',
    ),
    last_id: z.addDescription(
      z.nullable(z.string()),
      'The id of the last row of the page, for `after_id`. Null if the page is empty.',
    ),
  });
}

/** @returns a list as Anthropic's API shapes it. */
export function createListResponse<T>(data: T[], hasMore: boolean, idOf: (row: T) => string) {
  const first = data[0];
  const last = data.at(-1);
  return {
    data,
    has_more: hasMore,
    first_id: first === undefined ? null : idOf(first),
    last_id: last === undefined ? null : idOf(last),
  };
}

/**
 * Makes a page of rows that were selected for it.
 *
 * @param rows the rows of the page, and one more row if the list continues
 * @param backwards whether they were selected from the page's end to its beginning
 */
export function createPageResponse<T>(rows: readonly T[], limit: number, backwards: boolean, idOf: (row: T) => string) {
  const data = rows.slice(0, limit);
  return createListResponse(backwards ? data.reverse() : data, rows.length > limit, idOf);
}

/**
 * Makes a page of rows that are all in memory, as the API pages its lists.
 *
 * @param unknown where the page begins that follows an unknown id
 */
export function paginateRowsInMemory<T>(
  rows: readonly T[],
  { limit = 20, after_id, before_id }: { [Name in keyof ListPageQuery]?: ListPageQuery[Name] | undefined },
  idOf: (row: T) => string,
  unknown: 'begin' | 'end' = 'begin',
) {
  const findIndexOfRow = (id: string) => rows.findIndex((row) => idOf(row) === id);
  if (before_id !== undefined) {
    const end = Math.max(0, findIndexOfRow(before_id));
    const start = Math.max(0, end - limit);
    return createListResponse(rows.slice(start, end), start > 0, idOf);
  }
  let start = after_id === undefined ? 0 : findIndexOfRow(after_id) + 1;
  if (after_id !== undefined && start === 0 && unknown === 'end') start = rows.length;
  return createListResponse(rows.slice(start, start + limit), start + limit < rows.length, idOf);
}
