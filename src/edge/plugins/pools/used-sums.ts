import { buildVisitorAccount } from '../../auth/identity/identity.ts';
import {
  ADD_SUMS_SQL,
  addSums,
  groupUsageByValue,
  packSums,
  SUM_COLUMNS,
  SUMS_TOTALS_SQL,
  toUsageTotal,
  type UsageSums,
  unpackSums,
} from '../../claude/pricing/usage-sums.ts';
import { TableRowsBase } from '../../durable/rows.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import { formatCalendarWindowId } from '../../money/budget/windows.ts';
import type { AllAccountsUsageQuery } from '../../money/contracts/all-accounts.ts';
import {
  groupings,
  NAME_OF_VERSION_SQL,
  sumsAllVersions,
  type UsageGrouping,
} from '../../money/contracts/dimensions.ts';
import type { UsageSumsReport, UsageSumsReportRow } from './contracts/sums.ts';
import type { SharedUsageReport } from './pools-answers.schema.ts';
import { ERASED, VISITORS, VISITORS_LEASE } from './tables.ts';

type UsageSumsTableRow = Record<string, SqlStorageValue> & UsageSums;

const USED_COLUMN_NAMES = SUM_COLUMNS.join(', ');

/** The columns by which the sums of models are grouped: each sum is in exactly one group. */
const KEYS = {
  day: 'used.day',
  model: 'used.value',
  account: `case when used.lease = '${VISITORS_LEASE}' or leases.account glob '${buildVisitorAccount('*')}' then '${VISITORS}'
    when leases.erased = 0 then coalesce(leases.account, '${ERASED}') else '${ERASED}' end`,
  group: "nullif(used.pool_group, '')",
};

/** Keeps what accounts have reported: a row for each day, account, group, and model, token, user or tag. */
export class ReportedUsageTable extends TableRowsBase {
  /** Takes an account's report. Writes only what differs. */
  storeReport(lease: string, { since, rows, whole }: UsageSumsReport): void {
    if (since < 0) this.#deleteSumsOfLease(lease);
    for (const { day, dimension } of whole) {
      const keys = new Set(
        rows.filter((row) => row.day === day && row.dimension === dimension).map(createValueGroupKey),
      );
      for (const { value, group } of this.#readValuesOfDay(lease, day, dimension)) {
        if (!keys.has(createValueGroupKey({ value, group }))) this.#deleteRow(lease, { day, dimension, value, group });
      }
    }
    for (const row of rows) this.#writeRow(lease, row);
  }

  /** Deletes by which tokens, users and tags an erased account has spent. Its sums by model stay. */
  deleteAllButModelSums(lease: string): void {
    this.#deleteSumsOfLease(lease, (dimension) => dimension !== 'model');
  }

  /** Moves the spending of a visitor to the sums of all visitors, which only distinguish the models. */
  mergeIntoEndedVisitors(lease: string): void {
    for (const day of this.#listDaysWithSums('model')) {
      this.tables.runWriteStatement(
        `insert into used (dimension, day, lease, value, pool_group, ${USED_COLUMN_NAMES})
         select dimension, day, '${VISITORS_LEASE}', value, pool_group, ${USED_COLUMN_NAMES} from used
         where dimension = 'model' and day = ? and lease = ?
         on conflict (dimension, day, lease, value, pool_group) do update set ${ADD_SUMS_SQL}`,
        day,
        lease,
      );
    }
    this.#deleteSumsOfLease(lease);
  }

  /** @returns what all accounts have spent, or only the part that one group has paid for. */
  computeSharedUsage(query: AllAccountsUsageQuery): SharedUsageReport {
    const { from, to, group_by, limit } = query;
    const dimension = groupings().find(({ group }) => group === group_by);
    const groups = this.#querySums(dimension ? "'all'" : KEYS[group_by as keyof typeof KEYS], query, 'model');
    const all = addSums(groups);
    const data = dimension
      ? this.#sumUsageByValue(query, dimension, all)
      : groups.slice(0, limit).map((row) => ({
          key: typeof row.key === 'number' ? formatCalendarWindowId('day', row.key * DAY_MS) : row.key,
          ...toUsageTotal(row),
        }));
    return { from: from ?? null, to: to ?? null, group_by, data, total: toUsageTotal(all) };
  }

  #sumUsageByValue(query: AllAccountsUsageQuery, grouping: UsageGrouping, all: UsageSums): SharedUsageReport['data'] {
    const { group, hasSeveral } = grouping;
    const value = sumsAllVersions(grouping, query.key) ? NAME_OF_VERSION_SQL : 'value';
    const groups = this.#querySums(value, query, group, { value, key: query.key }).map((row) => ({
      ...row,
      value: String(row.key),
    }));
    const used = groups.filter(({ requests, cost, failed }) => requests !== 0 || cost !== 0 || failed !== 0);
    const lasts = new Map(used.map(({ value, last }) => [value, formatCalendarWindowId('day', last * DAY_MS)]));
    const accounts = group === 'token' ? this.#readAccountsOfTokens() : undefined;
    return groupUsageByValue(used, all, hasSeveral).map((row) => {
      const last_day = row.key === null ? undefined : lasts.get(row.key);
      const account = accounts?.get(row.key ?? '');
      return {
        ...row,
        ...(last_day === undefined ? {} : { last_day }),
        ...(account === undefined ? {} : { account }),
      };
    });
  }

  /** @returns the accounts of tokens with spending, except erased accounts */
  #readAccountsOfTokens(): Map<string, string> {
    const rows = this.tables.readAllRows<{ token: string; account: string }>(
      `select used.value as token, max(leases.account) as account
       from (select distinct value, lease from used where dimension = 'token') as used
       join leases on leases.id = used.lease where leases.erased = 0 and leases.account is not null group by 1`,
    );
    return new Map(rows.map(({ token, account }) => [token, account]));
  }

  #querySums(
    key: string,
    { from, to, group_by, group }: AllAccountsUsageQuery,
    dimension: UsageSumsReportRow['dimension'],
    only: { value: string; key: string | undefined } = { value: 'value', key: undefined },
  ) {
    const used = `used
       where dimension = ?1 and day >= ?2 and day < ?3 and (?4 is null or pool_group = ?4) and (?5 is null or ${only.value} = ?5)`;
    // Aggregate before joining, so that each lease is looked up once instead of once for each of its rows.
    const ofLeases = `(select lease, ${SUMS_TOTALS_SQL}, max(day) as day from ${used} group by 1) as used left join leases on leases.id = used.lease`;
    return this.tables.readAllRows<UsageSumsTableRow & { key: string | number | null; last: number }>(
      `select ${key} as key, ${SUMS_TOTALS_SQL}, max(day) as last from ${group_by === 'account' ? ofLeases : used}
       group by 1 order by ${group_by === 'day' ? 'key' : 'cost desc, key'}`,
      dimension,
      from === undefined ? 0 : Date.parse(from) / DAY_MS,
      to === undefined ? Number.MAX_SAFE_INTEGER : Date.parse(to) / DAY_MS,
      group ?? null,
      only.key ?? null,
    );
  }

  #deleteSumsOfLease(lease: string, isDeleted: (dimension: string) => boolean = () => true): void {
    for (const dimension of this.#listStoredDimensions().filter(isDeleted)) {
      for (const day of this.#listDaysWithSums(dimension)) {
        if (this.#readValuesOfDay(lease, day, dimension).length === 0) continue;
        this.tables.runWriteStatement(
          'delete from used where dimension = ? and day = ? and lease = ?',
          dimension,
          day,
          lease,
        );
      }
    }
  }

  /** @returns the dimensions of the stored sums. Looking up each one costs less than reading all rows. */
  #listStoredDimensions(): string[] {
    const next = 'select dimension from used where dimension > ? order by dimension limit 1';
    const all: string[] = [];
    const findDimensionAfter = (last: string) =>
      this.tables.readAllRows<{ dimension: string }>(next, last)[0]?.dimension;
    for (let one = findDimensionAfter(''); one !== undefined; one = findDimensionAfter(one)) all.push(one);
    return all;
  }

  /** @returns the days from the first to the last with sums. Looking up each day costs less than reading all rows. */
  #listDaysWithSums(dimension: UsageSumsReportRow['dimension']): number[] {
    const [edge] = this.tables.readAllRows<{ first: number | null; last: number | null }>(
      `select (select min(day) from used where dimension = ?1) as first, (select max(day) from used where dimension = ?1) as last`,
      dimension,
    );
    const { first, last } = edge ?? { first: null, last: null };
    if (first === null || last === null) return [];
    return Array.from({ length: last - first + 1 }, (_, at) => first + at);
  }

  #readValuesOfDay(lease: string, day: number, dimension: UsageSumsReportRow['dimension']) {
    return this.tables.readAllRows<{ value: string; group: string }>(
      'select value, pool_group as "group" from used where dimension = ? and day = ? and lease = ?',
      dimension,
      day,
      lease,
    );
  }

  #writeRow(lease: string, row: UsageSumsReportRow): void {
    const sums = unpackSums(row.sums);
    const { dimension, day, value, group } = row;
    const [before] = this.tables.readAllRows<UsageSumsTableRow>(
      `select ${USED_COLUMN_NAMES} from used where dimension = ? and day = ? and lease = ? and value = ? and pool_group = ?`,
      dimension,
      day,
      lease,
      value,
      group,
    );
    if (packSums(sums).every((number) => number === 0)) {
      if (before) this.#deleteRow(lease, row);
      return;
    }
    if (before && SUM_COLUMNS.every((column) => before[column] === sums[column])) return;
    this.tables.runWriteStatement(
      `insert or replace into used (dimension, day, lease, value, pool_group, ${USED_COLUMN_NAMES})
       values (?, ?, ?, ?, ?, ${SUM_COLUMNS.map(() => '?').join(', ')})`,
      ...[dimension, day, lease, value, group, ...packSums(sums)],
    );
  }

  #deleteRow(lease: string, { dimension, day, value, group }: Omit<UsageSumsReportRow, 'sums'>): void {
    this.tables.runWriteStatement(
      'delete from used where dimension = ? and day = ? and lease = ? and value = ? and pool_group = ?',
      dimension,
      day,
      lease,
      value,
      group,
    );
  }
}

function createValueGroupKey({ value, group }: Pick<UsageSumsReportRow, 'value' | 'group'>): string {
  return JSON.stringify([value, group]);
}
