/** What has been spent, as those are told who sum up over accounts: absolute sums, and only those that have changed. */

import { DAY_MS } from '../../async/durations.ts';
import { spanId } from '../../budget/windows.ts';
import type { ChangedSum, ChangedSums } from '../../durable/contracts/account.ts';
import type { Ledger } from './ledger.ts';
import { SUMS } from './tables.ts';

type SumTableRow = Record<string, SqlStorageValue> &
  Record<'requests' | (typeof SUMS)[number], number> & {
    day: number;
    dimension: ChangedSum['dimension'];
    value: string;
  };

/**
 * Reads the sums that have changed since they were told last. They are absolute: to tell them twice changes nothing.
 *
 * @param since the number that the last answer had; -1 for all sums
 */
export function changedSums(ledger: Ledger, since: number): ChangedSums {
  ledger.fold(true);
  const from = ledger.firstDayChanged(since);
  const columns = `requests, ${SUMS.join(', ')}`;
  const rows = ledger.read<SumTableRow>(
    `select day, 'model' as dimension, model as value, ${columns} from rollups where day >= ?1 and seq > ?2
     union all select day, dimension, value, ${columns} from dimensions where day >= ?1 and seq > ?2`,
    from,
    since,
  );
  const changed = rows.map(({ day, dimension, value, requests, ...sums }) => ({
    day: spanId('day', day * DAY_MS),
    dimension,
    value,
    requests,
    sums: Object.fromEntries(SUMS.map((column) => [column, sums[column]])) as ChangedSum['sums'],
  }));
  return { seq: ledger.seq, rows: changed };
}
