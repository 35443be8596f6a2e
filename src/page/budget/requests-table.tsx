import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { ListedRequest } from '../../client/index.ts';
import { identity } from '../edge/identity.ts';
import { nameOf } from '../edge/models.ts';
import { SmallButton } from '../ui/button.tsx';
import { Select } from '../ui/form.tsx';
import { formatCount, formatMs, formatStamp, sayTimes } from '../ui/format.ts';
import { Table } from '../ui/table.tsx';
import { Usd } from '../ui/usd.tsx';
import { CostLinks } from './cost-links.tsx';
import { DaysPicker } from './days-picker.tsx';
import { daysName } from './figures/days.ts';
import { inputTokens } from './figures/input-tokens.ts';
import {
  hasMoreRequests,
  isOfAll,
  keepRequests,
  type ListedKind,
  listedKind,
  listMoreRequests,
  minuteListed,
  requests,
  tokenListed,
} from './figures/request-list.ts';
import { AccountLink, RequestDetails } from './request-details.tsx';

const KINDS = [
  ['all', 'Sent and refused'],
  ['refused', 'Refused'],
  ['failed', 'Failed'],
] as const;
const OF_ALL = [
  ['refused of all', 'Refused, all accounts'],
  ['failed of all', 'Failed, all accounts'],
] as const;

/** Shows the account's requests, those that were refused too, with the reasons; and to an admin what was refused or failed of anybody. */
export function RequestsTable() {
  useEffect(keepRequests, []);
  const rows = requests.value;
  const kind = listedKind.value;
  return (
    <section class="stack" aria-labelledby="requests">
      <div class="apart">
        <h2 id="requests">Last requests</h2>
        <div class="inline filters">
          {!isOfAll(kind) && (
            <input
              aria-label="Only of the token"
              placeholder="Token (jti)"
              autocomplete="off"
              spellcheck={false}
              value={tokenListed.value}
              onChange={(event) => (tokenListed.value = event.currentTarget.value.trim())}
            />
          )}
          <input
            type="datetime-local"
            aria-label="Around this time, in UTC"
            title="Around this time, in UTC: five minutes before and after it"
            value={minuteListed.value}
            onChange={(event) => (minuteListed.value = event.currentTarget.value)}
          />
          <Select
            label="Which requests"
            value={kind}
            options={identity.value.admin ? [...KINDS, ...OF_ALL] : KINDS}
            onChoose={(one) => (listedKind.value = one as ListedKind)}
          />
          {minuteListed.value === '' && <DaysPicker of="the requests" />}
        </div>
      </div>
      {rows === undefined && <p class="quiet">…</p>}
      {rows?.length === 0 && (
        <p class="quiet">
          {NONE[kind.split(' ', 1)[0] as keyof typeof NONE]}{' '}
          {minuteListed.value === '' ? daysName() : `around ${minuteListed.value.replace('T', ' ')} UTC`}.
        </p>
      )}
      {rows !== undefined && kind !== 'all' && <NotListed />}
      {rows !== undefined && rows.length > 0 && <RequestRows rows={rows} kind={kind} />}
      {hasMoreRequests.value && (
        <p>
          <SmallButton name="Show more" onClick={listMoreRequests} />
        </p>
      )}
    </section>
  );
}

/** Says where else a request may stand whose caller got an error. */
function NotListed() {
  return <p class="quiet">A 401 is only in the log. What Claude refused (such as 529) has failed.</p>;
}

const NONE = { all: 'No requests', refused: 'No requests were refused', failed: 'No requests failed' };

const FIGURES = ['In', 'From cache', 'Out', 'Cost', 'Duration'].map((number) => ({ number }));

/** Running requests show their hold. A press on the time opens the rest of a row. */
function RequestRows({ rows, kind }: { rows: readonly ListedRequest[]; kind: ListedKind }) {
  const areRefused = kind === 'refused of all';
  const opened = useSignal<string | undefined>(undefined);
  return (
    <Table
      label="Requests"
      columns={[
        ...['Time', 'Route', 'Model', ...(areRefused ? ['Why'] : FIGURES), 'Outcome'],
        isOfAll(kind) ? 'Account' : 'Part of',
      ]}
    >
      {rows.flatMap((row) => {
        const id = row.request_id;
        const isOpen = opened.value === id;
        const shown = (
          <RequestRow
            key={id}
            row={row}
            why={areRefused ? 1 : FIGURES.length}
            isOpen={isOpen}
            onToggle={() => (opened.value = isOpen ? undefined : id)}
          />
        );
        if (!isOpen) return [shown];
        return [
          shown,
          <tr key={`${id} opened`}>
            <td colSpan={10}>
              <RequestDetails request={row} />
            </td>
          </tr>,
        ];
      })}
    </Table>
  );
}

interface RequestRowProps {
  row: ListedRequest;
  /** How many columns the reason of a refusal takes. */
  why: number;
  isOpen: boolean;
  onToggle(): void;
}

function RequestRow({ row, why, isOpen, onToggle }: RequestRowProps) {
  const { refusal, account } = row;
  const running = row.status === 'held';
  return (
    <tr data-running={running} data-refused={refusal !== undefined}>
      <td>
        <button type="button" class="link" aria-expanded={isOpen} onClick={onToggle}>
          {formatStamp(row.created_at)}
        </button>
      </td>
      <td>{row.route}</td>
      <td>{nameOf(row.model)}</td>
      {refusal ? (
        <td class="why" colSpan={why}>
          {sayTimes(refusal.message)}
        </td>
      ) : (
        <RequestFigures row={row} />
      )}
      <td>
        {refusal
          ? `refused: ${refusal.limit || 'busy'}`
          : running
            ? 'running'
            : (row.error_type ?? row.stop_reason ?? row.status)}
      </td>
      <td>
        {account !== undefined && <AccountLink account={account} />} <CostLinks request={row} />
      </td>
    </tr>
  );
}

/** The cells of a request that went up. */
function RequestFigures({ row }: { row: ListedRequest }) {
  const { usage } = row;
  const running = row.status === 'held';
  return (
    <>
      <td class="number">{running ? '' : formatCount(inputTokens(usage))}</td>
      <td class="number">{usage.cache_read_input_tokens > 0 ? formatCount(usage.cache_read_input_tokens) : ''}</td>
      <td class="number">{running ? '' : formatCount(usage.output_tokens)}</td>
      <td class="number" title={row.estimated ? 'Estimated: the upstream did not report it' : undefined}>
        {running ? '≤ ' : row.estimated && '≈ '}
        <Usd value={running ? row.hold_usd : row.cost_usd} />
      </td>
      <td class="number">{row.ms === null ? '' : formatMs(row.ms)}</td>
    </>
  );
}
