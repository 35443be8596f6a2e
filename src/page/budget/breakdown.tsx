import { useEffect } from 'preact/hooks';
import { ofAccount } from '../edge/account.ts';
import { SmallButton } from '../ui/button.tsx';
import { Select } from '../ui/form.tsx';
import { formatCount } from '../ui/format.ts';
import { Table, UsdCell } from '../ui/table.tsx';
import { Usd } from '../ui/usd.tsx';
import { DaysPicker } from './days-picker.tsx';
import { groupBy, onlyKey, SPEND_GROUPS, type SpendGroup, spendGroup } from './figures/breakdown-of.ts';
import { chosenDays, daysName } from './figures/days.ts';
import { inputTokens } from './figures/input-tokens.ts';
import { account } from './figures/report.ts';
import { spentOnDays } from './figures/spent-on-days.ts';
import { SpendKey } from './spend-key.tsx';

const PARTS_SHOWN = 20;
/** What the account has spent on the chosen days. */
const accountSpending = spentOnDays(() => ({
  ...chosenDays(),
  ...ofAccount(account.value),
  group_by: spendGroup.value,
  ...(onlyKey.value === undefined ? {} : { key: onlyKey.value }),
}));
export const breakdownFault = accountSpending.fault;

/** Shows what an account has spent its money on, on the chosen days. */
export function Breakdown() {
  useEffect(accountSpending.keep, []);
  const report = accountSpending.report.value;
  const rows = (report?.data ?? []).slice(0, PARTS_SHOWN);
  return (
    <section class="stack" aria-labelledby="breakdown">
      <div class="apart">
        <h2 id="breakdown">What {account.value} spent money on</h2>
        <div class="inline filters">
          <Select
            label="Group by"
            value={spendGroup.value}
            options={Object.entries(SPEND_GROUPS).map(([key, name]) => [key, `By ${name.toLowerCase()}`] as const)}
            onChoose={(key) => groupBy(key as SpendGroup)}
          />
          <DaysPicker of="what it spent money on" />
        </div>
      </div>
      {onlyKey.value !== undefined && (
        <p class="inline">
          Only the {spendGroup.value} <code>{onlyKey.value}</code>
          <SmallButton name={`Show every ${spendGroup.value}`} onClick={() => groupBy(spendGroup.value)} />
        </p>
      )}
      <p class="quiet">
        {report?.total.requests === 0 && `Nothing was spent ${daysName()}.`}
        {report && report.total.requests > 0 && (
          <Usd
            isSum
            value={report.total.cost_usd}
            after={` in ${formatCount(report.total.requests)} ${report.total.requests === 1 ? 'request' : 'requests'}, ${daysName()}.`}
          />
        )}
      </p>
      {rows.length > 0 && (
        <Table
          columns={[SPEND_GROUPS[spendGroup.value], ...['Requests', 'In', 'Out', 'Cost'].map((number) => ({ number }))]}
          label="Spending"
        >
          {rows.map(({ key, requests, cost_usd, usage }) => (
            <tr key={key}>
              <th scope="row">
                {key === null ? (
                  <span class="quiet">none</span>
                ) : (
                  <SpendKey name={key} isModel={spendGroup.value === 'model'} />
                )}
              </th>
              <td class="number">{formatCount(requests)}</td>
              <td class="number">{formatCount(inputTokens(usage))}</td>
              <td class="number">{formatCount(usage.output_tokens)}</td>
              <UsdCell value={cost_usd} />
            </tr>
          ))}
        </Table>
      )}
    </section>
  );
}
