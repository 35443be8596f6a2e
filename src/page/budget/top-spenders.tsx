import type { UsageReport } from '../../client/index.ts';
import { type Column, List } from '../edge/list.tsx';
import { formatCount, formatShare } from '../ui/format.ts';
import { Usd } from '../ui/usd.tsx';
import { DaysPicker } from './days-picker.tsx';
import { describeDays, getChosenDays, spendersRange } from './figures/days.ts';
import { sumInputTokens } from './figures/input-tokens.ts';
import { showAccount } from './links.tsx';
import { SpendKey } from './spend-key.tsx';

type SpenderRow = UsageReport['data'][number];
/** The dearest accounts. All others are in the total. */
const MAX_SPENDERS = 500;

/** Shows an admin who has spent most on the chosen days. A name opens what it was spent on. */
export function TopSpenders() {
  return (
    <section class="stack" aria-labelledby="who-spent">
      <div class="apart">
        <h2 id="who-spent">Who spent what</h2>
        <DaysPicker of="who spent what" range={spendersRange} />
      </div>
      <List<SpenderRow & { all: number }, UsageReport>
        name="Who spent what"
        path="/usage"
        query={() => ({ group_by: 'account', limit: MAX_SPENDERS, ...getChosenDays(spendersRange) })}
        rowsIn={({ data, total }) => data.map((row) => ({ ...row, all: total.cost_usd }))}
        columns={SPENDER_COLUMNS}
        row={{ key: ({ key }) => String(key) }}
        empty={`Nobody spent anything ${describeDays(spendersRange)}.`}
      />
    </section>
  );
}

const SPENDER_COLUMNS: readonly Column<SpenderRow & { all: number }>[] = [
  {
    name: 'Account',
    kind: 'text',
    cell: ({ key }) => (
      <button type="button" class="link" onClick={() => showAccount(key ?? '', spendersRange.value)}>
        <SpendKey name={key ?? ''} />
      </button>
    ),
  },
  { name: 'Requests', kind: 'number', spare: true, cell: ({ requests }) => formatCount(requests) },
  { name: 'In', kind: 'number', spare: true, cell: ({ usage }) => formatCount(sumInputTokens(usage)) },
  { name: 'Out', kind: 'number', spare: true, cell: ({ usage }) => formatCount(usage.output_tokens) },
  { name: 'Cost', kind: 'number', cell: ({ cost_usd }) => <Usd value={cost_usd} /> },
  { name: 'Share', kind: 'number', cell: ({ cost_usd, all }) => (all === 0 ? '' : formatShare(cost_usd / all)) },
];
