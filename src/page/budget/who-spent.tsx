import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { PartFault } from '../edge/retry-fault.tsx';
import { formatCount, formatShare } from '../ui/format.ts';
import { Pager } from '../ui/pager.tsx';
import { Table, UsdCell } from '../ui/table.tsx';
import { DaysPicker } from './days-picker.tsx';
import { chosenDays, daysName, spentRange } from './figures/days.ts';
import { inputTokens } from './figures/input-tokens.ts';
import { showAccount } from './figures/report.ts';
import { spentOnDays } from './figures/spent-on-days.ts';
import { SpendKey } from './spend-key.tsx';

const SPENT_ROWS = 10;
const COUNTS = ['Requests', 'In', 'Out'].map((number) => ({ number, spare: true }));
/** The dearest accounts. All others are in the total. */
const MOST_SPENDERS = 500;

/** What each account has spent on the chosen days. */
const spendingByAccount = spentOnDays(() => ({ group_by: 'account', limit: MOST_SPENDERS, ...chosenDays(spentRange) }));

/** Shows an admin who has spent most on the chosen days. A name opens what it was spent on. */
export function WhoSpent() {
  const first = useSignal(0);
  useEffect(spendingByAccount.keep, []);
  const report = spendingByAccount.report.value;
  const rows = report?.data ?? [];
  const total = report?.total.cost_usd ?? 0;
  return (
    <section class="stack" aria-labelledby="who-spent">
      <div class="apart">
        <h3 id="who-spent">Who spent what</h3>
        <DaysPicker of="who spent what" range={spentRange} />
      </div>
      <PartFault name="Who spent what" of={spendingByAccount.fault} />
      {!report && <p class="quiet">…</p>}
      {report && rows.length === 0 && <p class="quiet">Nobody spent anything {daysName(spentRange)}.</p>}
      {rows.length > 0 && (
        <Table label="Spent by account" columns={['Account', ...COUNTS, { number: 'Cost' }, { number: 'Share' }]}>
          {rows.slice(first.value, first.value + SPENT_ROWS).map(({ key, requests, cost_usd, usage }) => (
            <tr key={key}>
              <th scope="row">
                <button type="button" class="link" onClick={() => showAccount(key ?? '', spentRange.value)}>
                  <SpendKey name={key ?? ''} />
                </button>
              </th>
              <td class="number spare">{formatCount(requests)}</td>
              <td class="number spare">{formatCount(inputTokens(usage))}</td>
              <td class="number spare">{formatCount(usage.output_tokens)}</td>
              <UsdCell value={cost_usd} />
              <td class="number">{total === 0 ? '' : formatShare(cost_usd / total)}</td>
            </tr>
          ))}
        </Table>
      )}
      {rows.length > SPENT_ROWS && <Pager first={first} count={rows.length} size={SPENT_ROWS} />}
    </section>
  );
}
