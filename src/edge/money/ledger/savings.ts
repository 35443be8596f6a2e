/**
 * Computes from a ledger what caching has saved the requests of a prefix, compared with the same requests without caching.
 */

import { fromUsd, nanodollarsPerToken, toUsd } from '../../claude/pricing/cost.ts';
import type { ModelTable } from '../../claude/pricing/models.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import { spanId } from '../budget/windows.ts';
import type { SavingsQuery, SavingsRow } from '../contracts/account.ts';
import type { Ledger } from './ledger.ts';

type Savings = Omit<SavingsRow, 'day' | 'version'>;

/** What the requests of a day with one version and model have used. Those with a long prompt are separate. */
type Group = Record<string, SqlStorageValue> &
  Omit<Savings, 'hit_rate' | 'tokens_saved' | 'saved_usd'> & {
    day: number;
    version: string;
    model: string;
    long: number;
  };

/** @returns what was saved, by day and version in this order, as far back as the ledger's rows are kept. */
export function savingsOf(ledger: Ledger, { versions, from, to }: SavingsQuery, models: ModelTable): SavingsRow[] {
  const tiers = models.rows.flatMap(({ id, aliases, prices }) =>
    [id, ...aliases].map((model) => ({ model, above: prices.long_prompt?.above_tokens })),
  );
  const tiered = Object.fromEntries(tiers.flatMap(({ model, above }) => (above === undefined ? [] : [[model, above]])));
  const groups = ledger.read<Group>(
    `select at / ${DAY_MS} as day, about ->> '$.prefix' as version, coalesce(answered_by, ledger.model) as model,
       input_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens
         > coalesce((select value from json_each(?4) where key = coalesce(answered_by, ledger.model)), 1e18) as long,
       count(*) as requests,
       sum(input_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens > 0) as answered,
       sum(cache_write_5m_tokens + cache_write_1h_tokens > 0) as cache_writes, sum(cache_read_tokens > 0) as cache_reads,
       sum(input_tokens) as input_tokens, sum(cache_read_tokens) as cache_read_input_tokens,
       sum(cache_write_5m_tokens) as cache_write_5m_input_tokens, sum(cache_write_1h_tokens) as cache_write_1h_input_tokens
     from ledger where about ->> '$.prefix' in (select value from json_each(?1)) and status != 'held' and at >= ?2 and at < ?3
     group by 1, 2, 3, 4 order by 1, 2`,
    JSON.stringify(versions),
    from === undefined ? 0 : Date.parse(from),
    to === undefined ? Number.MAX_SAFE_INTEGER : Date.parse(to),
    JSON.stringify(tiered),
  );
  return addUp(
    groups.map((group) => {
      const { day, model: _, long: __, ...used } = group;
      return {
        ...used,
        day: spanId('day', day * DAY_MS),
        hit_rate: rate(used.cache_reads, used.answered),
        tokens_saved: used.cache_read_input_tokens,
        saved_usd: savedUsd(group, models),
      };
    }),
  );
}

function savedUsd({ model, long, ...used }: Group, models: ModelTable): number {
  const { prices } = models.price(model).row;
  const price = long && prices.long_prompt ? prices.long_prompt : prices;
  const input = nanodollarsPerToken(price.input);
  const saved =
    used.cache_read_input_tokens * (input - nanodollarsPerToken(price.cache_read)) -
    used.cache_write_5m_input_tokens * (nanodollarsPerToken(price.cache_write_5m) - input) -
    used.cache_write_1h_input_tokens * (nanodollarsPerToken(price.cache_write_1h) - input);
  return toUsd(saved);
}

/** Joins rows of the same day and version, in their order. */
export function addUp(rows: readonly SavingsRow[]): SavingsRow[] {
  const sums = new Map<string, SavingsRow>();
  for (const { day, version, ...more } of rows) {
    const key = `${day} ${version}`;
    const sum = sums.get(key);
    sums.set(key, { day, version, ...(sum ? addSavings(sum, more) : more) });
  }
  return [...sums.keys()].sort().flatMap((key) => sums.get(key) ?? []);
}

export function totalSavings(rows: readonly Savings[]): Savings {
  return rows.reduce(addSavings, NO_SAVINGS);
}

const NO_SAVINGS: Savings = {
  requests: 0,
  answered: 0,
  cache_writes: 0,
  cache_reads: 0,
  hit_rate: null,
  input_tokens: 0,
  cache_read_input_tokens: 0,
  cache_write_5m_input_tokens: 0,
  cache_write_1h_input_tokens: 0,
  tokens_saved: 0,
  saved_usd: 0,
};

function addSavings(left: Savings, right: Savings): Savings {
  const sum = { ...left };
  for (const name of Object.keys(NO_SAVINGS) as (keyof Savings)[]) if (name !== 'hit_rate') sum[name] += right[name];
  // Dollars are added as whole nanodollars, because only those sums are exact.
  const saved_usd = toUsd(fromUsd(left.saved_usd) + fromUsd(right.saved_usd));
  return { ...sum, saved_usd, hit_rate: rate(sum.cache_reads, sum.answered) };
}

function rate(hits: number, of: number): number | null {
  return of === 0 ? null : hits / of;
}
