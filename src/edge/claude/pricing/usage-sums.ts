/** Sums of what requests have cost and used: their columns in tables, and their form in answers. */

import { toUsd } from './cost.ts';

/** The columns that are summed. Rows of requests and rows of sums both have them. */
const USED_COLUMNS = [
  'cost',
  'input_tokens',
  'output_tokens',
  'cache_read_tokens',
  'cache_write_5m_tokens',
  'cache_write_1h_tokens',
  'thinking_tokens',
  'web_searches',
  'saved',
] as const;

/** The times to the first event that are counted, in milliseconds: how many requests had theirs within each of them. */
export const FIRST_EVENT_BOUNDS_MS = [250, 500, 1_000, 2_500, 5_000, 10_000, 30_000] as const;

const WITHIN_COLUMNS = FIRST_EVENT_BOUNDS_MS.map((bound) => `within_${bound}` as const);

/** The bounds of the histogram of the times that requests waited before they were sent, in milliseconds. */
export const WAIT_BOUNDS_MS = [100, 500, 1_000, 5_000, 10_000, 30_000] as const;

const WAITED_WITHIN_COLUMNS = WAIT_BOUNDS_MS.map((bound) => `waited_within_${bound}` as const);

/**
 * The columns about the outcome of requests: how many failed, how long they waited before they were sent (`wait_ms`), and how
 * fast the streams were. Only streams have a time to the first event (`first_ms`), and only a complete stream shows how long
 * its tokens took after that event.
 */
export const OUTCOME_COLUMNS = [
  'failed',
  'timed',
  'first_ms',
  'streamed_tokens',
  'streamed_ms',
  ...WITHIN_COLUMNS,
  'waited',
  'wait_ms',
  ...WAITED_WITHIN_COLUMNS,
] as const;

/** The columns of a sum: how many requests, what they have used together, and how they went. */
export const SUM_COLUMNS = ['requests', ...USED_COLUMNS, ...OUTCOME_COLUMNS] as const;

export type UsedCounts = Record<(typeof USED_COLUMNS)[number], number>;

/** The usage of several requests together. */
export type UsageSums = Record<(typeof SUM_COLUMNS)[number], number>;

/** What is summed up of a row, beside that it is one. */
export const SUMMED_COLUMNS = [...USED_COLUMNS, ...OUTCOME_COLUMNS] as const;
/** The columns of a sum over rows of requests or of sums, in SQL. */
export const USED_TOTALS_SQL = createTotalsSql(SUMMED_COLUMNS);
/** The columns of a sum over rows of sums, in SQL. */
export const SUMS_TOTALS_SQL = `sum(requests) as requests, ${USED_TOTALS_SQL}`;
/** The same without the outcome of the requests, as in a backup. */
export const SPENT_TOTALS_SQL = `sum(requests) as requests, ${createTotalsSql(USED_COLUMNS)}`;
/** The part of an upsert, in SQL, that adds a row of sums to the existing one. */
export const ADD_SUMS_SQL = SUM_COLUMNS.map((column) => `${column} = ${column} + excluded.${column}`).join(', ');

/** If a request may have several values: the value of the row that sums up all requests with any value. */
export const ANY_VALUE = '';

/** The most values in a report. The most expensive ones are listed. */
export const MAX_LISTED_VALUES = 1_000;

function createTotalsSql(columns: readonly string[]): string {
  return columns.map((column) => `sum(${column}) as ${column}`).join(', ');
}

const ZERO_USAGE = Object.fromEntries(SUM_COLUMNS.map((column) => [column, 0])) as UsageSums;

/** @returns the total of several sums; zeros if there are none. */
export function addSums(sums: Iterable<UsageSums>): UsageSums {
  const all = { ...ZERO_USAGE };
  for (const one of sums) for (const column of SUM_COLUMNS) all[column] += one[column];
  return all;
}

/** @returns a sum minus others that it contains. */
export function subtractSums(all: UsageSums, contained: Iterable<UsageSums>): UsageSums {
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
export function toUsageTotal(sums: UsageSums) {
  const { requests, cost, failed, timed: timed_requests, first_ms: ttft_ms, streamed_tokens, streamed_ms } = sums;
  const ttft_within_ms = Object.fromEntries(FIRST_EVENT_BOUNDS_MS.map((bound) => [bound, sums[`within_${bound}`]]));
  const speed = {
    timed_requests,
    ttft_ms,
    ttft_within_ms,
    streamed_tokens,
    streamed_ms,
    waited_requests: sums.waited,
    waited_ms: sums.wait_ms,
    waited_within_ms: Object.fromEntries(WAIT_BOUNDS_MS.map((bound) => [bound, sums[`waited_within_${bound}`]])),
  };
  return { requests, failed, cost_usd: toUsd(cost), saved_usd: toUsd(sums.saved), usage: toTokenReport(sums), speed };
}

/** @returns tokens by kind in the form of answers; all 0 if nothing was used. */
export function toTokenReport(used: Readonly<Omit<UsedCounts, 'cost' | 'saved'>> = ZERO_USAGE) {
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
 * Makes the rows of a report by a dimension: the most expensive values, and null for requests without a value.
 *
 * @param groups the sums by value, the most expensive first
 * @param all the sum of all requests
 * @param hasSeveral whether a request may have several values
 */
export function groupUsageByValue(
  groups: readonly (UsageSums & { value: string })[],
  all: UsageSums,
  hasSeveral: boolean,
) {
  // A request with several values has a row for each of them, so subtract the row of all values, which counts it once.
  const counted = hasSeveral ? groups.filter(({ value }) => value === ANY_VALUE) : groups;
  const named = groups.filter(({ value }) => !hasSeveral || value !== ANY_VALUE);
  const data: ({ key: string | null } & ReturnType<typeof toUsageTotal>)[] = named
    .slice(0, MAX_LISTED_VALUES)
    .map((group) => ({ key: group.value, ...toUsageTotal(group) }));
  const without = subtractSums(all, counted);
  // An upstream's failed attempt counts even if another upstream then answered the request, so the difference can be negative.
  without.failed = Math.max(0, without.failed);
  if (without.requests > 0) data.push({ key: null, ...toUsageTotal(without) });
  return data.sort((left, right) => right.cost_usd - left.cost_usd);
}
