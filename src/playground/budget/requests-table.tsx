import type { LedgerRow } from '../../client/index.ts';
import { nameOf } from '../edge/models.ts';
import { formatClock, formatCount, formatMs, formatUsd } from '../ui/format.ts';
import { Table } from '../ui/table.tsx';
import { requests } from './report.ts';

/** Shows the last rows of the ledger. Running requests show their hold. */
export function RequestsTable() {
  const rows = requests.value;
  return (
    <section class="stack" aria-labelledby="requests">
      <h2 id="requests">Last requests</h2>
      {rows.length === 0 ? (
        <p class="quiet">None yet.</p>
      ) : (
        <Table
          columns={['At', 'Route', 'Model', 'In', 'From cache', 'Out', 'Cost', 'Took', 'Ended']}
          label="Last requests"
        >
          {rows.map((row) => (
            <Row key={row.request_id} row={row} />
          ))}
        </Table>
      )}
    </section>
  );
}

function Row({ row }: { row: LedgerRow }) {
  const { usage } = row;
  const running = row.status === 'held';
  const input =
    usage.input_tokens +
    usage.cache_read_input_tokens +
    usage.cache_write_5m_input_tokens +
    usage.cache_write_1h_input_tokens;
  return (
    <tr data-running={running}>
      <td title={row.request_id}>{formatClock(row.created_at)}</td>
      <td>{row.route}</td>
      <td>{nameOf(row.model)}</td>
      <td>{running ? '' : formatCount(input)}</td>
      <td>{usage.cache_read_input_tokens > 0 ? formatCount(usage.cache_read_input_tokens) : ''}</td>
      <td>{running ? '' : formatCount(usage.output_tokens)}</td>
      <td>
        {running ? `≤ ${formatUsd(row.hold_usd)}` : `${formatUsd(row.cost_usd)}${row.estimated ? ' (estimated)' : ''}`}
      </td>
      <td>{row.ms === null ? '' : formatMs(row.ms)}</td>
      <td>{running ? 'running' : (row.error_type ?? row.stop_reason ?? row.status)}</td>
    </tr>
  );
}
