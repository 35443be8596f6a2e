import type { UsageReport } from '../../client/index.ts';
import { createAccountQuery } from '../edge/account.ts';
import { type ListColumn, PolledList } from '../edge/list.tsx';
import { formatCount } from '../ui/format.ts';
import { Usd } from '../ui/usd.tsx';
import { shownAccount, usageByModel } from './figures/report.ts';

type PrefixUsageRow = UsageReport['data'][number];

const PREFIX_COLUMNS: readonly ListColumn<PrefixUsageRow>[] = [
  {
    name: 'Prefix',
    kind: 'text',
    renderCell: ({ key }) => <span title={key ?? undefined}>{shortenPrefixVersion(key ?? '')}</span>,
  },
  { name: 'Requests', kind: 'number', renderCell: ({ requests }) => formatCount(requests) },
  {
    name: 'Tokens from the cache',
    kind: 'number',
    renderCell: ({ usage }) => formatCount(usage.cache_read_input_tokens),
  },
  { name: 'Saved', kind: 'number', renderCell: ({ saved_usd }) => <Usd value={Math.max(0, saved_usd)} /> },
];

/** Shows what caching has saved, in sum and by version of a prefix. Where nothing was read yet there is nothing to show. */
export function Savings() {
  const total = usageByModel.value?.total;
  if (!total) return null;
  const { saved_usd: saved, usage } = total;
  const tokens = usage.cache_read_input_tokens;
  if (tokens === 0) {
    if (saved >= 0) return null;
    return (
      <p class="quiet">
        <Usd isSum value={-saved} after=" spent on writing to Claude’s cache, from which nothing has been read yet." />
      </p>
    );
  }
  return (
    <section class="panel stack" aria-labelledby="savings">
      <h2 id="savings">{saved < 0 ? 'Cost of caching, all time' : 'Saved by caching, all time'}</h2>
      <p class="saved" data-loss={saved < 0}>
        <Usd isSum value={Math.abs(saved)} />
      </p>
      <p class="quiet">
        {formatCount(tokens)} tokens were read from Claude’s cache at a tenth of the price or less.{' '}
        {saved < 0
          ? 'So far, writing to the cache has cost more than reading from it has saved.'
          : 'The cost of writing to the cache is deducted.'}
      </p>
      <PolledList<PrefixUsageRow, UsageReport>
        name="Saved by prefix"
        path="/usage"
        query={{ group_by: 'prefix', ...createAccountQuery(shownAccount.value) }}
        rowsIn={({ data }) => data.filter(({ key }) => key !== null)}
        columns={PREFIX_COLUMNS}
        row={{ getKey: ({ key }) => String(key) }}
        empty="Stored prefixes saved nothing."
      />
    </section>
  );
}

/** @returns `name@version` with the first digits of the version */
function shortenPrefixVersion(version: string): string {
  return version.replace(/(?<=@.{8}).*/, '');
}
