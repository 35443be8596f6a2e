/** Reads a ledger for people: rows and sums as they go over the wire. */

import { DAY_MS } from '../../async/durations.ts';
import type { OutcomeCounts } from '../../batches/batches-answers.schema.ts';
import { spanId } from '../../budget/windows.ts';
import type { UsageQuery } from '../../durable/contracts/account.ts';
import type { Page, PageOf } from '../../durable/contracts/page.ts';
import { readTags } from '../../identity/tags.ts';
import { fromUsd, toUsd } from '../../pricing/cost.ts';
import type { LedgerRequest, LedgerRow, TokenCountsReport, UsageReport } from '../usage-answers.schema.ts';
import { DIMENSIONS, type Dimension, TAGGED } from './dimensions.ts';
import type { Ledger } from './ledger.ts';
import { ROLLUP_MODEL, SUMS } from './tables.ts';

type Sums = Record<(typeof SUMS)[number], number>;
type LedgerTableRow = Record<string, SqlStorageValue> &
  Sums & {
    id: string;
    at: number;
    settled_at: number | null;
    route: string;
    model: string;
    unpriced: number;
    conversation: string | null;
    prefix: string | null;
    token: string | null;
    tags: string | null;
    user: string | null;
    status: string;
    stage: string | null;
    max_tokens: number | null;
    hold: number;
    estimated: number;
    over_hold: number;
    late: number;
    answered_by: string | null;
    stop_reason: string | null;
    error_type: string | null;
    upstream_request_id: string | null;
    upstream: string | null;
    ttft_ms: number | null;
    ms: number | null;
    batch: string | null;
    outcomes: string | null;
  };

const MOST_GROUPS = 1_000;

/** @returns one request's row, with those of all its tries, or undefined. */
export function ledgerRequestOf(ledger: Ledger, id: string): LedgerRequest | undefined {
  // The tries of a request have its id, and a number behind it.
  const rows = ledger.read<LedgerTableRow>(
    "select * from ledger where id = ?1 or (id > ?1 || '.' and id < ?1 || '/') order by id",
    id,
  );
  const tries = rows.map(ledgerRow);
  const row = tries.find(({ request_id }) => request_id === id);
  return row && { ...row, tries, refusal: null };
}

/** @returns the conversations that these requests belong to. */
export function conversationsOf(ledger: Ledger, requestIds: Iterable<string>): Set<string> {
  const ids = new Set<string>();
  for (const id of requestIds) {
    const [row] = ledger.read<{ conversation: string | null }>('select conversation from ledger where id = ?', id);
    if (row?.conversation) ids.add(row.conversation);
  }
  return ids;
}

/** @returns a page of the requests, newest first. */
export function requestsOf(ledger: Ledger, { limit = 20, after_id, before_id }: PageOf): Page<LedgerRow> {
  let rows: LedgerTableRow[];
  if (after_id === undefined && before_id !== undefined) {
    rows = ledger.read<LedgerTableRow>('select * from ledger where id > ? order by id limit ?', before_id, limit + 1);
  } else {
    rows = ledger.read<LedgerTableRow>(
      'select * from ledger where (?1 is null or id < ?1) and (?2 is null or id > ?2) order by id desc limit ?3',
      after_id ?? null,
      before_id ?? null,
      limit + 1,
    );
  }
  const data = rows.slice(0, limit).map(ledgerRow);
  if (after_id === undefined && before_id !== undefined) data.reverse();
  return {
    data,
    has_more: rows.length > limit,
    first_id: data[0]?.request_id ?? null,
    last_id: data.at(-1)?.request_id ?? null,
  };
}

/** @returns rows for an export, oldest first, and the cursor of the next page or null. */
export function ledgerPageOf(
  ledger: Ledger,
  cursor: string,
  limit: number,
): { rows: LedgerRow[]; next: string | null } {
  const rows = ledger.read<LedgerTableRow>('select * from ledger where id > ? order by id limit ?', cursor, limit + 1);
  const page = rows.slice(0, limit);
  return { rows: page.map(ledgerRow), next: rows.length > limit ? (page.at(-1)?.id ?? null) : null };
}

/**
 * Sums what was spent.
 *
 * By day and model for all time, from rollups and what is not in them yet; by conversation, prefix and upstream from the
 * rows, so only as far back as these are kept.
 */
export function usageOf(ledger: Ledger, query: UsageQuery): UsageReport {
  const { group_by } = query;
  return isDimension(group_by) ? usageByDimension(ledger, query, group_by) : usageByRows(ledger, query);
}

function isDimension(group: UsageQuery['group_by']): group is Dimension {
  return DIMENSIONS.some((dimension) => dimension === group);
}

/** Sums by token, user or tag, for all time. What has none of it is the group null; what has several counts in each. */
function usageByDimension(ledger: Ledger, query: UsageQuery, dimension: Dimension): UsageReport {
  // Which values have a row of their own is decided when rows are folded.
  ledger.fold(true);
  const { total } = usageByRows(ledger, { ...query, group_by: 'model' });
  const { from, to } = query;
  type Group = Record<string, SqlStorageValue> & Sums & { value: string; requests: number };
  const columns = `sum(requests) as requests, ${SUMS.map((column) => `sum(${column}) as ${column}`).join(', ')}`;
  const groups = ledger.read<Group>(
    `select value, ${columns} from dimensions where day >= ? and day < ? and dimension = ?
     group by value having sum(requests) != 0 or sum(cost) != 0 order by cost desc, value`,
    from === undefined ? 0 : Date.parse(from) / DAY_MS,
    to === undefined ? Number.MAX_SAFE_INTEGER : Date.parse(to) / DAY_MS,
    dimension,
  );
  const counted = dimension === 'tag' ? groups.filter(({ value }) => value === TAGGED) : groups;
  const named = groups.filter(({ value }) => dimension !== 'tag' || value !== TAGGED);
  const data: UsageReport['data'] = named.slice(0, MOST_GROUPS).map((group) => ({
    key: group.value,
    ...usageTotal(group.requests, group),
  }));
  const without = withoutGroups(
    total,
    counted.map((group) => usageTotal(group.requests, group)),
  );
  if (without.requests > 0) data.push({ key: null, ...without });
  data.sort((left, right) => right.cost_usd - left.cost_usd);
  return { from: from ?? null, to: to ?? null, group_by: dimension, data, total };
}

function withoutGroups(total: UsageReport['total'], groups: readonly UsageReport['total'][]): UsageReport['total'] {
  return groups.reduce(
    (rest, { requests, cost_usd, usage }) => ({
      requests: rest.requests - requests,
      // Sums of dollars are exact as whole nanodollars only.
      cost_usd: toUsd(fromUsd(rest.cost_usd) - fromUsd(cost_usd)),
      usage: Object.fromEntries(
        Object.entries(rest.usage).map(([kind, count]) => [kind, count - usage[kind as keyof TokenCountsReport]]),
      ) as TokenCountsReport,
    }),
    total,
  );
}

function usageByRows(ledger: Ledger, { from, to, group_by }: UsageQuery): UsageReport {
  const first = from === undefined ? 0 : Date.parse(from);
  const end = to === undefined ? Number.MAX_SAFE_INTEGER : Date.parse(to);
  const sums = SUMS.map((column) => `sum(${column}) as ${column}`).join(', ');
  type Group = Record<string, SqlStorageValue> & Sums & { key: string | number | null; requests: number };
  const rollups = group_by === 'day' || group_by === 'model';
  const groups = rollups
    ? ledger.read<Group>(
        `select ${group_by} as key, sum(requests) as requests, ${sums} from (
           select day, model, requests, ${SUMS.join(', ')} from rollups where day >= ?1 / ${DAY_MS} and day < ?2 / ${DAY_MS}
           union all
           select at / ${DAY_MS} as day, ${ROLLUP_MODEL} as model, 1 as requests, ${SUMS.join(', ')} from ledger
           where id > ?3 and status != 'held' and at >= ?1 and at < ?2
         ) group by key order by ${group_by === 'day' ? 'key' : 'cost desc, key'}`,
        first,
        end,
        ledger.marker,
      )
    : ledger.read<Group>(
        `select ${group_by} as key, count(*) as requests, ${sums} from ledger
         where status != 'held' and at >= ? and at < ? group by key order by cost desc, key limit ${MOST_GROUPS}`,
        first,
        end,
      );
  const data = groups.map((group) => ({
    key: typeof group.key === 'number' ? spanId('day', group.key * DAY_MS) : group.key,
    ...usageTotal(group.requests, group),
  }));
  const all = groups.length < MOST_GROUPS || rollups ? groups : totals();
  const sum = Object.fromEntries(
    SUMS.map((column) => [column, all.reduce((before, group) => before + group[column], 0)]),
  ) as Sums;
  const requests = all.reduce((before, group) => before + group.requests, 0);
  return { from: from ?? null, to: to ?? null, group_by, data, total: usageTotal(requests, sum) };

  /** Of all groups, where more than the dearest were not listed. */
  function totals(): Group[] {
    return ledger.read<Group>(
      `select null as key, count(*) as requests, ${sums} from ledger
       where status != 'held' and at >= ? and at < ?`,
      first,
      end,
    );
  }
}

function usageTotal(requests: number, sums: Sums): UsageReport['total'] {
  return { requests, cost_usd: toUsd(sums.cost), usage: counts(sums) };
}

function counts(sums: Sums): TokenCountsReport {
  return {
    input_tokens: sums.input_tokens,
    output_tokens: sums.output_tokens,
    cache_read_input_tokens: sums.cache_read_tokens,
    cache_write_5m_input_tokens: sums.cache_write_5m_tokens,
    cache_write_1h_input_tokens: sums.cache_write_1h_tokens,
    thinking_tokens: sums.thinking_tokens,
    web_search_requests: sums.web_searches,
  };
}

function ledgerRow(row: LedgerTableRow): LedgerRow {
  return {
    request_id: row.id,
    created_at: new Date(row.at).toISOString(),
    settled_at: row.settled_at === null ? null : new Date(row.settled_at).toISOString(),
    route: row.route,
    model: row.model,
    answered_by: row.answered_by,
    conversation: row.conversation,
    prefix: row.prefix,
    token: row.token,
    tags: readTags(row.tags),
    user: row.user,
    status: row.status,
    stage: row.stage,
    max_tokens: row.max_tokens,
    hold_usd: toUsd(row.hold),
    cost_usd: toUsd(row.cost),
    usage: counts(row),
    estimated: row.estimated === 1,
    over_hold: row.over_hold === 1,
    late: row.late === 1,
    unpriced: row.unpriced === 1,
    stop_reason: row.stop_reason,
    error_type: row.error_type,
    upstream_request_id: row.upstream_request_id,
    upstream: row.upstream,
    ttft_ms: row.ttft_ms,
    ms: row.ms,
    batch: row.batch,
    outcomes: row.outcomes === null ? null : (JSON.parse(row.outcomes) as OutcomeCounts),
  };
}
