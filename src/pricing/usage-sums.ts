/** Sums of what requests have cost and used: their columns in tables, and their form in answers. */

import { toUsd } from './cost.ts';

/** The columns that are summed. Rows of requests and rows of sums both have them. */
export const USED_COLUMNS = [
  'cost',
  'input_tokens',
  'output_tokens',
  'cache_read_tokens',
  'cache_write_5m_tokens',
  'cache_write_1h_tokens',
  'thinking_tokens',
  'web_searches',
] as const;

/** The columns of a sum: how many requests, and what they have used together. */
export const SUM_COLUMNS = ['requests', ...USED_COLUMNS] as const;

/** What one request has used. */
export type Used = Record<(typeof USED_COLUMNS)[number], number>;

/** What several requests have used together. */
export type UsageSums = Record<(typeof SUM_COLUMNS)[number], number>;

/** The columns of a sum over rows of requests or of sums, in SQL. */
export const USED_IN_ALL = USED_COLUMNS.map((column) => `sum(${column}) as ${column}`).join(', ');
/** The columns of a sum over rows of sums, in SQL. */
export const SUMMED_UP = `sum(requests) as requests, ${USED_IN_ALL}`;
/** The part of an upsert, in SQL, that adds a row of sums to the existing one. */
export const ADD_SUMS = SUM_COLUMNS.map((column) => `${column} = ${column} + excluded.${column}`).join(', ');

/** The properties by which requests are summed up, beside their models. */
export const DIMENSIONS = ['token', 'user', 'agent', 'prefix', 'upstream', 'tag'] as const;

export type Dimension = (typeof DIMENSIONS)[number];

/** The value of the sum of all requests with any tag. */
export const TAGGED = '';

/** The most values in a report. The dearest ones are listed. */
export const MOST_LISTED_VALUES = 1_000;

const NO_USE = Object.fromEntries(SUM_COLUMNS.map((column) => [column, 0])) as UsageSums;

/** @returns the total of several sums; zeros if there are none. */
export function addSums(sums: Iterable<UsageSums>): UsageSums {
  const all = { ...NO_USE };
  for (const one of sums) for (const column of SUM_COLUMNS) all[column] += one[column];
  return all;
}

/** @returns a sum minus others that it contains. */
export function withoutSums(all: UsageSums, contained: Iterable<UsageSums>): UsageSums {
  const rest = { ...all };
  for (const one of contained) for (const column of SUM_COLUMNS) rest[column] -= one[column];
  return rest;
}

/** @returns a sum in the form for calls between objects: its numbers, in the order of the columns. */
export function packSums(sums: UsageSums): number[] {
  return SUM_COLUMNS.map((column) => sums[column]);
}

/** @returns the sum that `packSums` has packed. Missing numbers are 0. */
export function unpackSums(numbers: readonly number[]): UsageSums {
  return Object.fromEntries(SUM_COLUMNS.map((column, at) => [column, numbers[at] ?? 0])) as UsageSums;
}

/** @returns a sum in the form of answers. */
export function usageTotal(sums: UsageSums) {
  return { requests: sums.requests, cost_usd: toUsd(sums.cost), usage: reportTokens(sums) };
}

/** @returns tokens by kind in the form of answers; all 0 if nothing was used. */
export function reportTokens(used: Readonly<Omit<Used, 'cost'>> = NO_USE) {
  return {
    input_tokens: used.input_tokens,
    output_tokens: used.output_tokens,
    cache_read_input_tokens: used.cache_read_tokens,
    cache_write_5m_input_tokens: used.cache_write_5m_tokens,
    cache_write_1h_input_tokens: used.cache_write_1h_tokens,
    thinking_tokens: used.thinking_tokens,
    web_search_requests: used.web_searches,
  };
}

/**
 * Makes the rows of a report by a dimension: the dearest values, and null for requests without a value.
 *
 * @param groups the sums by value, the dearest first
 * @param all the sum of all requests
 */
export function usageByValue(groups: readonly (UsageSums & { value: string })[], all: UsageSums, dimension: Dimension) {
  const isTag = dimension === 'tag';
  // A request counts once in each of its tags, but only once in the sum of all tagged requests.
  const counted = isTag ? groups.filter(({ value }) => value === TAGGED) : groups;
  const named = groups.filter(({ value }) => !isTag || value !== TAGGED);
  const data: ({ key: string | null } & ReturnType<typeof usageTotal>)[] = named
    .slice(0, MOST_LISTED_VALUES)
    .map((group) => ({ key: group.value, ...usageTotal(group) }));
  const without = withoutSums(all, counted);
  if (without.requests > 0) data.push({ key: null, ...usageTotal(without) });
  return data.sort((left, right) => right.cost_usd - left.cost_usd);
}
