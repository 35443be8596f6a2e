import { models } from '../edge/models.ts';
import { formatCount, formatShare } from '../ui/format.ts';
import { Table, UsdCell } from '../ui/table.tsx';
import { Usd } from '../ui/usd.tsx';
import { cachingSaved } from './figures/caching-saved.ts';
import { byModel, savings } from './figures/report.ts';

/** Shows what caching has saved, in sum and by prefix. */
export function Savings() {
  const report = byModel.value;
  const saved = report && cachingSaved(report, models.value);
  const rows = savings.value.filter(({ total }) => total.requests > 0);
  return (
    <section class="panel stack" aria-labelledby="savings">
      <h2 id="savings">Saved by caching</h2>
      <p class="saved">{saved ? <Usd isSum value={saved.usd} /> : '…'}</p>
      <p class="quiet">
        {!saved?.tokens
          ? 'Nothing came from Claude’s cache yet. Ask twice with a long prefix, or continue a long conversation.'
          : `${formatCount(saved.tokens)} tokens came from Claude’s cache for a tenth of the price or less. What it cost to write them there is deducted.`}
      </p>
      {rows.length > 0 && (
        <Table
          label="Saved by prefix"
          columns={['Prefix', { number: 'Requests' }, { number: 'Hits' }, { number: 'Saved' }]}
        >
          {rows.map(({ name, total }) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td class="number">{formatCount(total.requests)}</td>
              <td class="number">{total.hit_rate === null ? '' : formatShare(total.hit_rate)}</td>
              <UsdCell value={total.saved_usd} />
            </tr>
          ))}
        </Table>
      )}
    </section>
  );
}
