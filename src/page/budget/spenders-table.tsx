/** The table of accounts and groups: a page of fifty rows at a time, so that a thousand cost no more than fifty. */

import { useComputed, useSignal } from '@preact/signals';
import { useLayoutEffect, useRef } from 'preact/hooks';
import { Select } from '../ui/form.tsx';
import { formatMoment } from '../ui/format.ts';
import { Pager } from '../ui/pager.tsx';
import { TableFrame } from '../ui/table.tsx';
import { Usd } from '../ui/usd.tsx';
import { PERIODS, type Period, type Spender, sayTightest, spenders, usedShare } from './figures/overview.ts';
import { showAccount } from './figures/report.ts';
import { NEARLY } from './gauge.tsx';
import { LimitCell } from './limit-cell.tsx';

type SpenderColumn = 'id' | 'group' | 'spent' | 'tightest' | 'limit' | 'seen';

const COLUMNS: readonly (readonly [SpenderColumn, string])[] = [
  ['id', 'Name'],
  ['group', 'Group'],
  ['spent', 'Spent'],
  ['tightest', 'Tightest limit'],
  ['limit', 'Limit'],
  ['seen', 'Last request'],
];
const ROWS = 50;
const PERIOD_NAMES = { day: 'today', week: 'this week', month: 'this month' } as const;

/** Shows who has spent how much, sorted as its headings are pressed; arrows go from row to row. */
export function SpendersTable() {
  const period = useSignal<Period>('month');
  const order = useSignal<{ by: SpenderColumn; down: boolean }>({ by: 'spent', down: true });
  const filter = useSignal('');
  const first = useSignal(0);
  const body = useRef<HTMLTableSectionElement>(null);
  const focusNext = useRef<string | undefined>(undefined);
  const sorted = useComputed(() => {
    const wanted = filter.value.trim().toLowerCase();
    const rows = (spenders.value ?? []).filter(
      ({ id, group }) => wanted === '' || id.toLowerCase().includes(wanted) || group?.toLowerCase().includes(wanted),
    );
    const { by, down } = order.value;
    const sign = down ? -1 : 1;
    return rows.sort(
      (left, right) => sign * compare(valueIn(left, by, period.value), valueIn(right, by, period.value)),
    );
  });
  const rows = sorted.value;
  const sortBy = (by: SpenderColumn) => {
    const { by: before, down } = order.value;
    order.value = { by, down: by === before ? !down : by !== 'id' && by !== 'group' };
    first.value = 0;
  };
  const move = (event: KeyboardEvent) => {
    const target = event.target as HTMLElement;
    const column = target.dataset.column;
    if (column === undefined) return;
    const cells = [...(body.current?.querySelectorAll<HTMLElement>(`[data-column="${column}"]`) ?? [])];
    const at = cells.indexOf(target);
    if (event.key === 'ArrowDown') cells[at + 1]?.focus();
    else if (event.key === 'ArrowUp') cells[at - 1]?.focus();
    else if (event.key === 'PageDown' || event.key === 'PageUp') {
      focusNext.current = column;
      const turned = first.value + (event.key === 'PageDown' ? ROWS : -ROWS);
      if (turned >= 0 && turned < rows.length) first.value = turned;
    } else return;
    event.preventDefault();
  };
  // The row that had the focus is gone with its page.
  useLayoutEffect(() => {
    if (focusNext.current !== undefined) {
      body.current?.querySelector<HTMLElement>(`[data-column="${focusNext.current}"]`)?.focus();
    }
    focusNext.current = undefined;
  });
  return (
    <section class="stack" aria-labelledby="spenders">
      <div class="apart">
        <h2 id="spenders">Accounts and groups</h2>
        <div class="inline filters">
          <input
            aria-label="Filter by name or group"
            placeholder="Filter"
            onInput={(event) => {
              filter.value = event.currentTarget.value;
              first.value = 0;
            }}
          />
          <Select
            label="Window"
            value={period.value}
            options={PERIODS.map((one) => [one, PERIOD_NAMES[one]] as const)}
            onChoose={(one) => (period.value = one as Period)}
          />
        </div>
      </div>
      <TableFrame label="Who spends, row by row" class="spenders">
        <table class="table">
          <thead>
            <tr>
              {COLUMNS.map(([column, name]) => (
                <th
                  key={column}
                  scope="col"
                  class={column === 'spent' || column === 'limit' ? 'number' : undefined}
                  aria-sort={column !== order.value.by ? 'none' : order.value.down ? 'descending' : 'ascending'}
                >
                  <button type="button" class="sort" onClick={() => sortBy(column)}>
                    {column === 'limit' ? `Limit a ${period.value}` : name}
                  </button>
                </th>
              ))}
            </tr>
          </thead>
          <tbody ref={body} onKeyDown={move}>
            {rows.slice(first.value, first.value + ROWS).map((row) => (
              <SpenderRow key={`${row.kind} ${row.id}`} row={row} period={period.value} />
            ))}
          </tbody>
        </table>
      </TableFrame>
      <Pager first={first} count={rows.length} size={ROWS} />
    </section>
  );
}

function SpenderRow({ row, period }: { row: Spender; period: Period }) {
  const { kind, id, group, spent, tightest, blocked, seen } = row;
  const nearly = blocked || (tightest != null && usedShare(tightest) >= NEARLY);
  return (
    <tr>
      <th scope="row">
        {kind === 'account' ? (
          <button type="button" class="link" data-column="id" onClick={() => showAccount(id)}>
            {id}
          </button>
        ) : (
          <span>
            {id} <span class="tag">group</span>
          </span>
        )}
      </th>
      <td>{group ?? ''}</td>
      <td class="number">
        <Usd value={spent[period]} />
      </td>
      <td data-nearly={nearly}>
        {sayTightest(tightest)}
        {blocked && <span class="tag waits">blocked</span>}
      </td>
      <td class="number">
        <LimitCell key={period} row={row} period={period} />
      </td>
      <td>{seen === null ? '' : formatMoment(seen)}</td>
    </tr>
  );
}

function valueIn(row: Spender, column: SpenderColumn, period: Period): string | number {
  if (column === 'tightest')
    return row.blocked ? Number.POSITIVE_INFINITY : row.tightest ? usedShare(row.tightest) : -1;
  if (column === 'limit') return row.limit[period] ?? -1;
  return column === 'spent' ? row.spent[period] : (row[column] ?? '');
}

function compare(left: string | number, right: string | number): number {
  return left < right ? -1 : left > right ? 1 : 0;
}
