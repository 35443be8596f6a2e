import type { LedgerRow } from '../../client/index.ts';
import { nameOf } from '../edge/models.ts';
import { formatCount, formatMs, formatStamp, usdColumn } from '../ui/format.ts';
import { Table } from '../ui/table.tsx';
import { requests } from './report.ts';

/** Shows the last rows of the ledger. Running requests show their hold. */
export function RequestsTable() {
  const rows = requests.value;
  const usd = usdColumn(
    (rows ?? []).map(({ cost_usd, hold_usd, status }) => (status === 'held' ? hold_usd : cost_usd)),
  );
  return (
    <section class="stack" aria-labelledby="requests">
      <h2 id="requests">Last requests</h2>
      {rows === undefined || rows.length === 0 ? (
        <p class="quiet">{rows === undefined ? '…' : 'None yet.'}</p>
      ) : (
        <Table
          columns={[
            'At',
            'Route',
            'Model',
            ...['In', 'From cache', 'Out', 'Cost', 'Took'].map((number) => ({ number })),
            'Ended',
          ]}
          label="Last requests"
        >
          {rows.map((row) => (
            <Row key={row.request_id} row={row} usd={usd} />
          ))}
        </Table>
      )}
    </section>
  );
}

function Row({ row, usd }: { row: LedgerRow; usd: (value: number) => string }) {
  const { usage } = row;
  const running = row.status === 'held';
  const input =
    usage.input_tokens +
    usage.cache_read_input_tokens +
    usage.cache_write_5m_input_tokens +
    usage.cache_write_1h_input_tokens;
  return (
    <tr data-running={running}>
      <td title={row.request_id}>{formatStamp(row.created_at)}</td>
      <td>{row.route}</td>
      <td>{nameOf(row.model)}</td>
      <td class="number">{running ? '' : formatCount(input)}</td>
      <td class="number">{usage.cache_read_input_tokens > 0 ? formatCount(usage.cache_read_input_tokens) : ''}</td>
      <td class="number">{running ? '' : formatCount(usage.output_tokens)}</td>
      <td class="number" title={row.estimated ? 'Estimated: the upstream did not say' : undefined}>
        {running ? `≤ ${usd(row.hold_usd)}` : `${row.estimated ? '≈ ' : ''}${usd(row.cost_usd)}`}
      </td>
      <td class="number">{row.ms === null ? '' : formatMs(row.ms)}</td>
      <td>{running ? 'running' : (row.error_type ?? row.stop_reason ?? row.status)}</td>
    </tr>
  );
}
