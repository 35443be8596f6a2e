/** What an account reports of its ledger: sums by day, group and model. */

import { DAY_MS } from '../../async/durations.ts';
import type { SumRow } from '../../durable/contracts/pool.ts';
import { SUM_COLUMNS } from '../../pools/tables.ts';
import type { Ledger } from './ledger.ts';
import { ERASED_MODEL, ROLLUP_MODEL, SUMS } from './tables.ts';

type DaySums = Record<string, SqlStorageValue> & Record<(typeof SUM_COLUMNS)[number], number>;

/**
 * Sums what was settled of the requests of one day, a row for each group and model. What was erased is not in it: that was
 * handed over.
 *
 * @param day days since 1970
 */
export function sumsOfDay(ledger: Ledger, day: number): SumRow[] {
  const sums = SUM_COLUMNS.map((column) => `sum(${column}) as ${column}`).join(', ');
  const unfolded = (more: string) => `select ${ROLLUP_MODEL} as model, pool_group, 1 as requests, ${SUMS.join(', ')}
    from ledger where id > ?2 and status != 'held' and at >= ?1 * ${DAY_MS} and at < (?1 + 1) * ${DAY_MS} ${more}`;
  const all = ledger.read<DaySums & { model: string }>(
    `select model, ${sums} from (
       select model, null as pool_group, ${SUM_COLUMNS.join(', ')} from rollups where day = ?1
       union all ${unfolded('')}
     ) where model != '${ERASED_MODEL}' group by model`,
    day,
    ledger.marker,
  );
  const grouped = ledger.read<DaySums & { model: string; pool_group: string }>(
    `select pool_group, model, ${sums} from (
       select model, pool_group, ${SUM_COLUMNS.join(', ')} from group_rollups where day = ?1
       union all ${unfolded('and pool_group is not null')}
     ) where model != '${ERASED_MODEL}' group by pool_group, model`,
    day,
    ledger.marker,
  );
  // The sums of all have those of groups in them.
  const rest = new Map(all.map((row) => [row.model, SUM_COLUMNS.map((column) => row[column])]));
  const rows = grouped.map((row): SumRow => {
    const own = SUM_COLUMNS.map((column) => row[column]);
    const total = rest.get(row.model) ?? [];
    for (const [at, value] of own.entries()) total[at] = (total[at] ?? 0) - value;
    return { day, group: row.pool_group, model: row.model, sums: own };
  });
  for (const [model, own] of rest) {
    if (own.some((value) => value !== 0)) rows.push({ day, group: '', model, sums: own });
  }
  return rows;
}

/** @returns the days that something was settled on, in days since 1970. */
export function daysOf(ledger: Ledger): number[] {
  return ledger
    .read<{ day: number }>(
      `select distinct day from (
         select day from rollups where model != '${ERASED_MODEL}'
         union all select at / ${DAY_MS} as day from ledger where id > ? and status != 'held'
       ) order by day`,
      ledger.marker,
    )
    .map(({ day }) => day);
}
