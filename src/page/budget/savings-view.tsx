import { formatCount } from '../ui/format.ts';
import { Table, UsdCell } from '../ui/table.tsx';
import { Usd } from '../ui/usd.tsx';
import { byModel, byPrefix } from './figures/report.ts';

/** Shows what caching has saved, in sum and by version of a prefix. */
export function Savings() {
  const total = byModel.value?.total;
  const tokens = total?.usage.cache_read_input_tokens;
  const rows = byPrefix.value?.data.filter(({ key }) => key !== null) ?? [];
  return (
    <section class="panel stack" aria-labelledby="savings">
      <h2 id="savings">Saved by caching</h2>
      <p class="saved">{total ? <Usd isSum value={total.saved_usd} /> : '…'}</p>
      <p class="quiet">
        {!tokens
          ? 'Nothing came from Claude’s cache yet. Ask twice with a long prefix, or continue a long conversation.'
          : `${formatCount(tokens)} tokens came from Claude’s cache for a tenth of the price or less. What it cost to write them there is deducted.`}
      </p>
      {rows.length > 0 && (
        <Table
          label="Saved by prefix"
          columns={['Prefix', { number: 'Requests' }, { number: 'Tokens from the cache' }, { number: 'Saved' }]}
        >
          {rows.map(({ key, requests, usage, saved_usd }) => (
            <tr key={key}>
              <th scope="row" title={key ?? undefined}>
                {shortened(key ?? '')}
              </th>
              <td class="number">{formatCount(requests)}</td>
              <td class="number">{formatCount(usage.cache_read_input_tokens)}</td>
              <UsdCell value={saved_usd} />
            </tr>
          ))}
        </Table>
      )}
    </section>
  );
}

/** @returns `name@version` with the first digits of the version */
function shortened(version: string): string {
  return version.replace(/(?<=@.{8}).*/, '');
}
