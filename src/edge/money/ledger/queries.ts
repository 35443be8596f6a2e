/** Reads a ledger for answers: rows and sums in the form of the API. */
import { toUsd } from '../../claude/pricing/cost.ts';
import {
  addSums,
  groupUsageByValue,
  MAX_LISTED_VALUES,
  SUMMED_COLUMNS,
  SUMS_TOTALS_SQL,
  toTokenReport,
  toUsageTotal,
  USED_TOTALS_SQL,
  type UsageSums,
  type UsedCounts,
} from '../../claude/pricing/usage-sums.ts';
import type { ListPage, PageSelection } from '../../durable/page.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import { toIsoTimeOrNull } from '../../kit/http/times.ts';
import type { LedgerRequest, LedgerRow, UsageReport } from '../account/usage-answers.schema.ts';
import { formatCalendarWindowId } from '../budget/windows.ts';
import type { DateRange, RequestsFilter, UsageQuery } from '../contracts/account.ts';
import {
  groupings,
  NAME_OF_VERSION_SQL,
  parseDimensionsColumn,
  sumsAllVersions,
  type UsageGrouping,
} from '../contracts/dimensions.ts';
import type { Ledger } from './ledger.ts';
import { sumRowsByDimension } from './rollups.ts';
import { ROLLUP_MODEL } from './tables.ts';

/** The columns that answers contain unchanged. */
const SHOWN_COLUMNS = [
  ...(['route', 'model', 'answered_by', 'conversation', 'token', 'status', 'stage'] as const),
  ...([
    'max_tokens',
    'stop_reason',
    'error_type',
    'error_message',
    'upstream_request_id',
    'upstream',
    'ttft_ms',
    'waited_ms',
    'ms',
  ] as const),
] as const;

type PublicLedgerColumns = Pick<LedgerRow, (typeof SHOWN_COLUMNS)[number]>;
type LedgerSqlRow = Record<string, SqlStorageValue> &
  UsedCounts &
  PublicLedgerColumns &
  Record<'at' | 'unpriced' | 'hold' | 'estimated' | 'over_hold' | 'late', number> & {
    id: string;
    settled_at: number | null;
    dimensions: string | null;
    failed_upstreams: string | null;
    lowered_by: string | null;
  };

/** @returns a request's row with those of all its attempts, by the id of any of them; undefined if there is none. */
export function findRequestWithTries(ledger: Ledger, id: string): LedgerRequest | undefined {
  // Later attempts have the id of the request followed by `.` and a number. `/` follows `.` in ASCII, so the condition selects
  // exactly the ids that begin with `<id>.`.
  const rows = ledger.readAllRows<LedgerSqlRow>(
    "select * from ledger where id = ?1 or (id > ?1 || '.' and id < ?1 || '/') order by id",
    id.replace(/\.\d+$/, ''),
  );
  const tries = rows.map(toLedgerRow);
  const row = tries.find(({ request_id }) => request_id === id);
  return row && { ...row, tries: [row, ...tries.filter((one) => one !== row)], refusal: null };
}

/** The newest rows in which an upstream's id is looked for. No index has it: that would cost each request a row. */
const SEARCHED_ROWS = 20_000;

/** @returns the id of the newest request that an upstream answered with an id of its own. @param only searches only failures */
export function findRequestIdByUpstreamId(ledger: Ledger, upstreamId: string, only?: 'failed'): string | undefined {
  const findNewestIn = (rows: string) =>
    ledger.readAllRows<{ id: string }>(`select id ${rows} order by id desc limit 1`, upstreamId)[0]?.id;
  const failed = findNewestIn(`${FAILED} and upstream_request_id = ?`);
  if (failed !== undefined || only) return failed;
  const rows = `select id, upstream_request_id from ledger order by id desc limit ${SEARCHED_ROWS}`;
  return findNewestIn(`from (${rows}) where upstream_request_id = ?`);
}

/** @returns the conversations that these requests belong to. */
export function findConversationsOfRequests(ledger: Ledger, requestIds: Iterable<string>): Set<string> {
  const ids = new Set<string>();
  for (const id of requestIds) {
    const [row] = ledger.readAllRows<{ conversation: string | null }>(
      'select conversation from ledger where id = ?',
      id,
    );
    if (row?.conversation) ids.add(row.conversation);
  }
  return ids;
}

/** @returns when the newest request that failed began, in milliseconds since 1970; undefined if none has failed */
export function findLastFailureTime(ledger: Ledger): number | undefined {
  return ledger.queryNumber(`select at ${FAILED} order by id desc limit 1`);
}

/** The failed requests, by the index that contains only them. */
const FAILED = 'from ledger indexed by failures where error_type is not null';

/** @returns a page of the requests, or of those that failed, newest first. */
export function listRequests(
  ledger: Ledger,
  page: PageSelection,
  { token, outcome, ...days }: RequestsFilter,
): ListPage<LedgerRow> {
  const from = outcome === 'failed' ? `${FAILED} and` : 'from ledger where';
  const select = `* ${from} at >= ?3 and at < ?4 and (?5 is null or token = ?5)`;
  const rows = ledger.selectPage<LedgerSqlRow>({ select, order: ['id'] }, page, ...toTimeRange(days), token ?? null);
  return { ...rows, data: rows.data.map(toLedgerRow) };
}

/** @returns rows for an export, oldest first, and the cursor of the next page or null. */
export function exportLedgerPage(
  ledger: Ledger,
  cursor: string,
  limit: number,
): { rows: LedgerRow[]; next: string | null } {
  const rows = ledger.readAllRows<LedgerSqlRow>(
    'select * from ledger where id > ? order by id limit ?',
    cursor,
    limit + 1,
  );
  const page = rows.slice(0, limit);
  return { rows: page.map(toLedgerRow), next: rows.length > limit ? (page.at(-1)?.id ?? null) : null };
}

/**
 * Sums up what was spent.
 *
 * By day, model and dimension for all time, from rollups and what is not in them yet. By conversation and tool, and between
 * times that are not midnights, from the rows: so only as far back as these are kept.
 */
export function computeUsageReport(ledger: Ledger, query: UsageQuery): UsageReport {
  if (query.group_by === 'tool') return sumUsageByTool(ledger, query);
  const dimension = groupings().find(({ group }) => group === query.group_by);
  return dimension ? sumUsageByDimension(ledger, query, dimension) : sumUsageFromRows(ledger, query);
}

/**
 * Sums up by a dimension, for all time. Requests without a value are in the group null; with several, in each group.
 */
function sumUsageByDimension(ledger: Ledger, query: UsageQuery, grouping: UsageGrouping): UsageReport {
  const { group, hasSeveral } = grouping;
  const { from, to, key } = query;
  const areDays = isRangeOfWholeDays(query);
  const areVersionsSummed = sumsAllVersions(grouping, key);
  // Add the remaining rows to the daily totals first. That decides which values get a row of their own and which share the row
  // `(other)`.
  if (areDays) ledger.foldSettledRowsIntoRollups(true);
  const all = addSums(queryRowSumsByColumn(ledger, { from, to, group_by: 'model' }).groups);
  const [first, end] = toTimeRange(query);
  const groups = areDays
    ? ledger.readAllRows<Record<string, SqlStorageValue> & UsageSumsOfValue>(
        `select ${areVersionsSummed ? NAME_OF_VERSION_SQL : 'value'} as value, ${SUMS_TOTALS_SQL} from dimensions
         where day >= ? and day < ? and dimension = ? group by 1 having sum(requests) != 0 or sum(cost) != 0 or sum(failed) != 0 order by cost desc, 1`,
        first / DAY_MS,
        end / DAY_MS,
        group,
      )
    : sumRowsByDimensionValue(ledger, [first, end], group, areVersionsSummed);
  const data = groupUsageByValue(
    groups.filter(({ value }) => key === undefined || value === key),
    all,
    hasSeveral,
  );
  return { from: from ?? null, to: to ?? null, group_by: group, data, total: toUsageTotal(all) };
}

type UsageSumsOfValue = UsageSums & { value: string };

/** @returns the sums of a dimension between two times, from the rows; the dearest first */
function sumRowsByDimensionValue(
  ledger: Ledger,
  times: [number, number],
  dimension: string,
  areVersionsSummed: boolean,
): UsageSumsOfValue[] {
  const values = new Map<string, UsageSums>();
  for (const sum of sumRowsByDimension(ledger, "status != 'held' and at >= ? and at < ?", ...times)) {
    if (sum.dimension !== dimension) continue;
    const value = areVersionsSummed ? sum.value.replace(/@.*$/s, '') : sum.value;
    const before = values.get(value);
    values.set(value, before ? addSums([sum.sums, before]) : sum.sums);
  }
  return [...values].map(([value, sums]) => ({ value, ...sums })).sort((left, right) => right.cost - left.cost);
}

/** Sums up by the tools that the edge has called. A request counts for each tool whose results it has taken up. */
function sumUsageByTool(ledger: Ledger, { from, to, group_by }: UsageQuery): UsageReport {
  const days = toTimeRange({ from, to });
  const queryToolSums = (key: string, tables: string, condition: string) =>
    ledger.readAllRows<UsageSumsByKey & Record<'calls' | 'errors' | 'ms', number>>(
      `select ${key}, count(*) as requests, ${USED_TOTALS_SQL} from ${tables}
       where status != 'held' and at >= ? and at < ? and ${condition} group by 1 order by cost desc, 1 limit ${MAX_LISTED_VALUES}`,
      ...days,
    );
  const calls = ['calls', 'errors', 'ms'].map((name, at) => `sum(value ->> '$[${at}]') as ${name}`).join(', ');
  const groups = queryToolSums(`key, ${calls}`, 'ledger, json_each(ledger.tools)', 'tools is not null');
  const without = addSums(queryToolSums('null as key', 'ledger', 'tools is null'));
  const all = addSums([without, ...queryToolSums('null as key', 'ledger', 'tools is not null')]);
  const data: UsageReport['data'] = groups.map(({ key, calls, errors, ms, ...used }) => ({
    key: String(key),
    ...toUsageTotal(used),
    calls,
    errors,
    ms,
  }));
  if (without.requests > 0) data.push({ key: null, ...toUsageTotal(without) });
  data.sort((left, right) => right.cost_usd - left.cost_usd);
  return { from: from ?? null, to: to ?? null, group_by, data, total: toUsageTotal(all) };
}

/** @returns the beginning (inclusive) and the end (exclusive) of days, in milliseconds since 1970 */
export function toTimeRange({ from, to }: DateRange): [from: number, to: number] {
  return [from === undefined ? 0 : Date.parse(from), to === undefined ? Number.MAX_SAFE_INTEGER : Date.parse(to)];
}

/** @returns whether days begin at both times, so that sums by day have all that is between them */
function isRangeOfWholeDays(days: DateRange): boolean {
  return Object.values({ from: days.from, to: days.to }).every(
    (at) => at === undefined || Date.parse(at) % DAY_MS === 0,
  );
}

function sumUsageFromRows(ledger: Ledger, query: UsageQuery): UsageReport {
  const { from, to, group_by } = query;
  const { groups, all } = queryRowSumsByColumn(ledger, query);
  const data = groups.map((group) => ({
    key: typeof group.key === 'number' ? formatCalendarWindowId('day', group.key * DAY_MS) : group.key,
    ...toUsageTotal(group),
  }));
  return { from: from ?? null, to: to ?? null, group_by, data, total: toUsageTotal(addSums(all)) };
}

type UsageSumsByKey = Record<string, SqlStorageValue> & UsageSums & { key: string | number | null };

/** @returns the dearest sums by a column of the rows, and the sums of all */
function queryRowSumsByColumn(ledger: Ledger, query: UsageQuery): { groups: UsageSumsByKey[]; all: UsageSumsByKey[] } {
  const { group_by, key: only = null } = query;
  const [first, end] = toTimeRange(query);
  const columns = SUMMED_COLUMNS.join(', ');
  const isByDay = group_by === 'day' || group_by === 'model';
  if (isByDay && isRangeOfWholeDays(query)) {
    const groups = ledger.readAllRows<UsageSumsByKey>(
      `select ${group_by} as key, ${SUMS_TOTALS_SQL} from (
         select day, model, requests, ${columns} from rollups where day >= ?1 / ${DAY_MS} and day < ?2 / ${DAY_MS}
         union all
         select at / ${DAY_MS} as day, ${ROLLUP_MODEL} as model, 1 as requests, ${columns} from ledger
         where id > ?3 and status != 'held' and at >= ?1 and at < ?2
       ) group by key order by ${group_by === 'day' ? 'key' : 'cost desc, key'}`,
      first,
      end,
      ledger.lastFoldedRowId,
    );
    return { groups, all: groups };
  }
  const key = group_by === 'day' ? `at / ${DAY_MS}` : group_by === 'model' ? ROLLUP_MODEL : group_by;
  const selectRowSums = (shown: string) => `select ${shown} as key, count(*) as requests, ${USED_TOTALS_SQL} from ledger
    where status != 'held' and at >= ?1 and at < ?2 and (?3 is null or ${key} = ?3)`;
  const groups = ledger.readAllRows<UsageSumsByKey>(
    `${selectRowSums(key)} group by 1 order by ${group_by === 'day' ? '1' : `cost desc, 1 limit ${MAX_LISTED_VALUES}`}`,
    first,
    end,
    isByDay ? null : only,
  );
  const isAll = isByDay || groups.length < MAX_LISTED_VALUES;
  return { groups, all: isAll ? groups : ledger.readAllRows<UsageSumsByKey>(selectRowSums('null'), first, end, only) };
}

function toLedgerRow(row: LedgerSqlRow): LedgerRow {
  const { outcomes, ...dimensions } = parseDimensionsColumn(row.dimensions);
  return {
    request_id: row.id,
    created_at: new Date(row.at).toISOString(),
    settled_at: toIsoTimeOrNull(row.settled_at),
    ...(Object.fromEntries(SHOWN_COLUMNS.map((column) => [column, row[column]])) as PublicLedgerColumns),
    ...dimensions,
    failed_upstreams: JSON.parse(row.failed_upstreams ?? '[]') as string[],
    lowered_by: JSON.parse(row.lowered_by ?? 'null') as LedgerRow['lowered_by'],
    hold_usd: toUsd(row.hold),
    cost_usd: toUsd(row.cost),
    usage: toTokenReport(row),
    estimated: row.estimated === 1,
    over_hold: row.over_hold === 1,
    late: row.late === 1,
    unpriced: row.unpriced === 1,
    outcomes,
  };
}
