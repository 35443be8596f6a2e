import type { UsageReport } from '../../client/index.ts';
import { createAccountQuery } from '../edge/account.ts';
import { type ListColumn, PolledList } from '../edge/list.tsx';
import { SmallButton } from '../ui/button.tsx';
import { Cost, chooseCostDecimals } from '../ui/cost.tsx';
import { Select } from '../ui/form.tsx';
import { formatCount } from '../ui/format.ts';
import { Usd } from '../ui/usd.tsx';
import {
  listAvailableGroupings,
  SPEND_GROUPS,
  type SpendGrouping,
  selectedKey,
  selectSpendGrouping,
  spendGroup,
} from './breakdown-selection.ts';
import { DaysPicker } from './days-picker.tsx';
import { getConversationLabel, useConversationTitles } from './figures/conversation-titles.ts';
import { describeSelectedDays, getSelectedDayRange } from './figures/days.ts';
import { sumAllInputTokens } from './figures/input-tokens.ts';
import { shownAccount } from './figures/report.ts';
import { describeRequestCount } from './figures/request-count.ts';
import { SpendKeyLabel } from './spend-key.tsx';

/** A row with the decimals that costs are shown with. */
type BreakdownRow = UsageReport['data'][number] & { decimals: number };

/** Shows what an account has spent its money on, on the chosen days. */
export function Breakdown() {
  useConversationTitles();
  const group = spendGroup.value;
  const only = selectedKey.value;
  return (
    <section class="stack" aria-labelledby="breakdown">
      <div class="apart">
        <h2 id="breakdown">Spending of {shownAccount.value}</h2>
        <div class="inline filters">
          <Select
            label="Group by"
            value={group}
            options={listAvailableGroupings().map(([key, name]) => [key, `By ${name.toLowerCase()}`] as const)}
            onChoose={(key) => selectSpendGrouping(key as SpendGrouping)}
          />
          <DaysPicker of="the spending" />
        </div>
      </div>
      {only !== undefined && (
        <p class="inline">
          Only the {group} <code>{only}</code>
          <SmallButton name="Clear filter" onClick={() => selectSpendGrouping(group)} />
        </p>
      )}
      <PolledList<BreakdownRow, UsageReport>
        name="Spending"
        path="/usage"
        query={() => ({
          ...getSelectedDayRange(),
          ...createAccountQuery(shownAccount.value),
          group_by: group,
          key: only,
        })}
        rowsIn={({ data, total }) => data.map((row) => ({ ...row, decimals: chooseCostDecimals(total) }))}
        about={renderSpendTotal}
        columns={createSpendBreakdownColumns(group)}
        row={{ getKey: ({ key }) => String(key) }}
        empty={`Nothing was spent ${describeSelectedDays()}.`}
      />
    </section>
  );
}

function renderSpendTotal({ total }: UsageReport) {
  if (total.requests === 0) return null;
  return (
    <p class="quiet">
      <Usd isSum value={total.cost_usd} after={` in ${describeRequestCount(total)}, ${describeSelectedDays()}.`} />
    </p>
  );
}

function BreakdownKey({ group, name }: { group: SpendGrouping; name: string }) {
  if (group !== 'conversation') return <SpendKeyLabel name={name} isModel={group === 'model'} />;
  return <span title={name}>{getConversationLabel(name, shownAccount.value)}</span>;
}

function createSpendBreakdownColumns(group: SpendGrouping): ListColumn<BreakdownRow>[] {
  return [
    {
      name: SPEND_GROUPS[group],
      kind: 'text',
      renderCell: ({ key }) =>
        key === null ? <span class="quiet">none</span> : <BreakdownKey group={group} name={key} />,
    },
    { name: 'Requests', kind: 'number', renderCell: ({ requests }) => formatCount(requests) },
    {
      name: 'Input tokens',
      kind: 'number',
      spare: true,
      renderCell: ({ usage }) => formatCount(sumAllInputTokens(usage)),
    },
    { name: 'Output tokens', kind: 'number', spare: true, renderCell: ({ usage }) => formatCount(usage.output_tokens) },
    {
      name: 'Cost',
      kind: 'number',
      renderCell: ({ cost_usd, decimals }) => <Cost value={cost_usd} decimals={decimals} />,
    },
  ];
}
