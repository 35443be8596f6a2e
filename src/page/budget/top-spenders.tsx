import type { UsageReport } from '../../client/index.ts';
import { type ListColumn, PolledList } from '../edge/list.tsx';
import { formatCount, formatPercentage } from '../ui/format.ts';
import { Usd } from '../ui/usd.tsx';
import { DaysPicker } from './days-picker.tsx';
import { describeSelectedDays, getSelectedDayRange, spendersRange } from './figures/days.ts';
import { sumAllInputTokens } from './figures/input-tokens.ts';
import { navigateToAccount } from './links.tsx';
import { SpendKeyLabel } from './spend-key.tsx';

type SpenderRow = UsageReport['data'][number];
/** The dearest accounts. All others are in the total. */
const MAX_SPENDERS = 500;

/** Shows an admin who has spent most on the chosen days. A name opens what it was spent on. */
export function TopSpenders() {
  return (
    <section class="stack" aria-labelledby="who-spent">
      <div class="apart">
        <h2 id="who-spent">Spending by account</h2>
        <DaysPicker of="spending by account" range={spendersRange} />
      </div>
      <PolledList<SpenderRow & { all: number }, UsageReport>
        name="Spending by account"
        path="/usage"
        query={() => ({ group_by: 'account', limit: MAX_SPENDERS, ...getSelectedDayRange(spendersRange) })}
        rowsIn={({ data, total }) => data.map((row) => ({ ...row, all: total.cost_usd }))}
        columns={SPENDER_COLUMNS}
        row={{ getKey: ({ key }) => String(key) }}
        empty={`No account spent anything ${describeSelectedDays(spendersRange)}.`}
      />
    </section>
  );
}

const SPENDER_COLUMNS: readonly ListColumn<SpenderRow & { all: number }>[] = [
  {
    name: 'Account',
    kind: 'text',
    renderCell: ({ key }) => (
      <button type="button" class="link" onClick={() => navigateToAccount(key ?? '', spendersRange.value)}>
        <SpendKeyLabel name={key ?? ''} />
      </button>
    ),
  },
  { name: 'Requests', kind: 'number', spare: true, renderCell: ({ requests }) => formatCount(requests) },
  {
    name: 'Input tokens',
    kind: 'number',
    spare: true,
    renderCell: ({ usage }) => formatCount(sumAllInputTokens(usage)),
  },
  { name: 'Output tokens', kind: 'number', spare: true, renderCell: ({ usage }) => formatCount(usage.output_tokens) },
  { name: 'Cost', kind: 'number', renderCell: ({ cost_usd }) => <Usd value={cost_usd} /> },
  {
    name: 'Share',
    kind: 'number',
    renderCell: ({ cost_usd, all }) => (all === 0 ? '' : formatPercentage(cost_usd / all)),
  },
];
