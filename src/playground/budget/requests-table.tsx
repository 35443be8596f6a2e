import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { ListedRequest } from '../../client/index.ts';
import { nameOf } from '../edge/models.ts';
import { SmallButton } from '../ui/button.tsx';
import { Select } from '../ui/form.tsx';
import { formatCount, formatMs, formatStamp } from '../ui/format.ts';
import { Table } from '../ui/table.tsx';
import { Usd } from '../ui/usd.tsx';
import { DaysPicker } from './days-picker.tsx';
import { daysName } from './figures/days.ts';
import { inputTokens } from './figures/input-tokens.ts';
import { hasMoreRequests, keepRequests, listedKind, listMoreRequests, requests } from './figures/request-list.ts';
import { RequestDetails, WhyRefused } from './request-details.tsx';

const KINDS = [
  ['sent', 'Sent to Claude'],
  ['refused', 'Refused by this edge'],
] as const;

/** Shows the account's requests on the chosen days: the rows of the ledger, or what was refused, with the reasons. */
export function RequestsTable() {
  useEffect(keepRequests, []);
  const rows = requests.value;
  const isRefused = listedKind.value === 'refused';
  return (
    <section class="stack" aria-labelledby="requests">
      <div class="apart">
        <h2 id="requests">Last requests</h2>
        <div class="inline filters">
          <Select
            label="Which requests"
            value={listedKind.value}
            options={KINDS}
            onChoose={(kind) => (listedKind.value = kind as 'sent' | 'refused')}
          />
          <DaysPicker of="the requests" />
        </div>
      </div>
      {rows === undefined && <p class="quiet">…</p>}
      {rows?.length === 0 && (
        <p class="quiet">
          {isRefused ? 'No requests were refused' : 'No requests'} {daysName()}.
        </p>
      )}
      {rows !== undefined && rows.length > 0 && (isRefused ? <RefusedRows rows={rows} /> : <SentRows rows={rows} />)}
      {hasMoreRequests.value && (
        <p>
          <SmallButton name="Show more" onClick={listMoreRequests} />
        </p>
      )}
    </section>
  );
}

/** Running requests show their hold. A press on the time opens the rest of a row. */
function SentRows({ rows }: { rows: readonly ListedRequest[] }) {
  const opened = useSignal<string | undefined>(undefined);
  return (
    <Table
      label="Sent requests"
      columns={[
        'Time',
        'Route',
        'Model',
        ...['In', 'From cache', 'Out', 'Cost', 'Duration'].map((number) => ({ number })),
        'Outcome',
      ]}
    >
      {rows.flatMap((row) => {
        const id = row.request_id;
        const isOpen = opened.value === id;
        const shown = (
          <SentRow key={id} row={row} isOpen={isOpen} onToggle={() => (opened.value = isOpen ? undefined : id)} />
        );
        if (!isOpen) return [shown];
        return [
          shown,
          <tr key={`${id} opened`}>
            <td colSpan={9}>
              <RequestDetails request={row} />
            </td>
          </tr>,
        ];
      })}
    </Table>
  );
}

interface SentRowProps {
  row: ListedRequest;
  isOpen: boolean;
  onToggle(): void;
}

function SentRow({ row, isOpen, onToggle }: SentRowProps) {
  const { usage } = row;
  const running = row.status === 'held';
  return (
    <tr data-running={running}>
      <td>
        <button type="button" class="link" aria-expanded={isOpen} onClick={onToggle}>
          {formatStamp(row.created_at)}
        </button>
      </td>
      <td>{row.route}</td>
      <td>{nameOf(row.model)}</td>
      <td class="number">{running ? '' : formatCount(inputTokens(usage))}</td>
      <td class="number">{usage.cache_read_input_tokens > 0 ? formatCount(usage.cache_read_input_tokens) : ''}</td>
      <td class="number">{running ? '' : formatCount(usage.output_tokens)}</td>
      <td class="number" title={row.estimated ? 'Estimated: the upstream did not report it' : undefined}>
        {running ? '≤ ' : row.estimated && '≈ '}
        <Usd value={running ? row.hold_usd : row.cost_usd} />
      </td>
      <td class="number">{row.ms === null ? '' : formatMs(row.ms)}</td>
      <td>{running ? 'running' : (row.error_type ?? row.stop_reason ?? row.status)}</td>
    </tr>
  );
}

function RefusedRows({ rows }: { rows: readonly ListedRequest[] }) {
  return (
    <Table columns={['Time', 'Model', 'Limit', 'Reason']} label="Refused requests">
      {rows.map(({ request_id, created_at, model, refusal }) => (
        <tr key={request_id}>
          <td title={request_id}>{formatStamp(created_at)}</td>
          <td>{nameOf(model)}</td>
          <td>{refusal && <code>{refusal.limit}</code>}</td>
          <td class="why">{refusal && <WhyRefused refusal={refusal} />}</td>
        </tr>
      ))}
    </Table>
  );
}
