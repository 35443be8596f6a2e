/** Reads the sums of what conversations have cost whose agents choose their models. */

import { DAY_MS } from '../async/durations.ts';
import type { ChoiceSum, ChoicesQuery } from '../pricing/choice-sums.ts';
import type { Tables } from './tables.ts';

/** @returns the sums of an agent in all its versions. @param table the sums of an account, or of all that have reported */
export function readChoiceSums(
  tables: Tables,
  table: 'dimensions' | 'used',
  { agent, from, to }: ChoicesQuery,
): ChoiceSum[] {
  return tables.read<Record<string, SqlStorageValue> & ChoiceSum>(
    `select day, value, sum(requests) as requests, sum(cost) as cost from ${table}
     where dimension = 'choice' and day >= ? and day < ? and value >= ?3 || '@' and value < ?3 || 'A' group by 1, 2`,
    from === undefined ? 0 : Math.floor(Date.parse(from) / DAY_MS),
    to === undefined ? Number.MAX_SAFE_INTEGER : Math.ceil(Date.parse(to) / DAY_MS),
    agent,
  );
}
