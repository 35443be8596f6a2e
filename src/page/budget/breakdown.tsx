import type { UsageReport } from '../../client/index.ts';
import { toAccountQuery } from '../edge/account.ts';
import { type Column, List } from '../edge/list.tsx';
import { SmallButton } from '../ui/button.tsx';
import { Select } from '../ui/form.tsx';
import { formatCount } from '../ui/format.ts';
import { Usd } from '../ui/usd.tsx';
import {
  chooseSpendGroup,
  getAvailableGroups,
  SPEND_GROUPS,
  type SpendGroup,
  selectedKey,
  spendGroup,
} from './breakdown-selection.ts';
import { DaysPicker } from './days-picker.tsx';
import { describeDays, getChosenDays } from './figures/days.ts';
import { sumInputTokens } from './figures/input-tokens.ts';
import { shownAccount } from './figures/report.ts';
import { SpendKey } from './spend-key.tsx';

type BreakdownRow = UsageReport['data'][number];

/** Shows what an account has spent its money on, on the chosen days. */
export function Breakdown() {
  const group = spendGroup.value;
  const only = selectedKey.value;
  return (
    <section class="stack" aria-labelledby="breakdown">
      <div class="apart">
        <h2 id="breakdown">What {shownAccount.value} spent money on</h2>
        <div class="inline filters">
          <Select
            label="Group by"
            value={group}
            options={getAvailableGroups().map(([key, name]) => [key, `By ${name.toLowerCase()}`] as const)}
            onChoose={(key) => chooseSpendGroup(key as SpendGroup)}
          />
          <DaysPicker of="what it spent money on" />
        </div>
      </div>
      {only !== undefined && (
        <p class="inline">
          Only the {group} <code>{only}</code>
          <SmallButton name={`Show every ${group}`} onClick={() => chooseSpendGroup(group)} />
        </p>
      )}
      <List<BreakdownRow, UsageReport>
        name="Spending"
        path="/usage"
        query={() => ({ ...getChosenDays(), ...toAccountQuery(shownAccount.value), group_by: group, key: only })}
        rowsIn={({ data }) => data}
        about={renderSum}
        columns={createBreakdownColumns(group)}
        row={{ key: ({ key }) => String(key) }}
        empty={`Nothing was spent ${describeDays()}.`}
      />
    </section>
  );
}

function renderSum({ total: { requests, cost_usd } }: UsageReport) {
  if (requests === 0) return null;
  return (
    <p class="quiet">
      <Usd
        isSum
        value={cost_usd}
        after={` in ${formatCount(requests)} ${requests === 1 ? 'request' : 'requests'}, ${describeDays()}.`}
      />
    </p>
  );
}

function createBreakdownColumns(group: SpendGroup): Column<BreakdownRow>[] {
  return [
    {
      name: SPEND_GROUPS[group],
      kind: 'text',
      cell: ({ key }) =>
        key === null ? <span class="quiet">none</span> : <SpendKey name={key} isModel={group === 'model'} />,
    },
    { name: 'Requests', kind: 'number', cell: ({ requests }) => formatCount(requests) },
    { name: 'In', kind: 'number', spare: true, cell: ({ usage }) => formatCount(sumInputTokens(usage)) },
    { name: 'Out', kind: 'number', spare: true, cell: ({ usage }) => formatCount(usage.output_tokens) },
    { name: 'Cost', kind: 'number', cell: ({ cost_usd }) => <Usd value={cost_usd} /> },
  ];
}
