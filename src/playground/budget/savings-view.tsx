import { models } from '../edge/models.ts';
import { formatCount, formatShare, formatUsd, usdColumn } from '../ui/format.ts';
import { Table } from '../ui/table.tsx';
import { byModel, savings } from './report.ts';
import { cachingSaved } from './savings.ts';

/** Shows what caching has saved, in sum and by prefix. */
export function Savings() {
  const report = byModel.value;
  const read = report?.total.usage.cache_read_input_tokens ?? 0;
  const rows = savings.value.filter(({ total }) => total.requests > 0);
  const usd = usdColumn(rows.map(({ total }) => total.saved_usd));
  return (
    <section class="panel stack" aria-labelledby="savings">
      <h2 id="savings">Saved by caching</h2>
      <p class="saved">{report ? formatUsd(cachingSaved(report, models.value)) : '…'}</p>
      <p class="quiet">
        {read === 0
          ? 'Nothing was read from Claude’s cache yet. Ask twice with a long prefix, or go on with a long conversation.'
          : `${formatCount(read)} tokens were read from Claude’s cache at a tenth of the price or less; what it cost to write them there is taken off.`}
      </p>
      {rows.length > 0 && (
        <Table columns={['Prefix', { number: 'Requests' }, { number: 'Hits' }, { number: 'Saved' }]}>
          {rows.map(({ name, total }) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td class="number">{formatCount(total.requests)}</td>
              <td class="number">{total.hit_rate === null ? '' : formatShare(total.hit_rate)}</td>
              <td class="number">{usd(total.saved_usd)}</td>
            </tr>
          ))}
        </Table>
      )}
    </section>
  );
}
