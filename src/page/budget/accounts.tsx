import { useEffect } from 'preact/hooks';
import { identity } from '../edge/identity.ts';
import { FirstFault } from '../edge/retry-fault.tsx';
import { Tabs } from '../ui/tabs.tsx';
import { AccountHead } from './account-head.tsx';
import { Breakdown, breakdownFault } from './breakdown.tsx';
import { keepSpenders, spenders, spendersFault } from './figures/overview.ts';
import { account, keepReporting, reportFault, spend } from './figures/report.ts';
import { Gauges } from './gauges.tsx';
import { LimitsForm } from './limits-form.tsx';
import { Savings } from './savings-view.tsx';
import { SpendChart } from './spend-chart.tsx';
import { SpendersTable } from './spenders-table.tsx';
import { Tokens } from './tokens.tsx';

const ADMIN_TABS = [
  { name: 'Limits', content: () => <LimitsForm key={account.value} /> },
  { name: 'Tokens', content: () => <Tokens key={account.value} /> },
];

/** Shows an admin all accounts and groups, and one account with its limits and tokens. */
export function BudgetAccounts() {
  useEffect(keepSpenders, []);
  useEffect(keepReporting, []);
  return (
    <>
      <FirstFault of={[spendersFault, reportFault, breakdownFault]} />
      <SpendersTable />
      {/* What is below moves no more once the table is there. */}
      {(spenders.value !== undefined || spendersFault.value !== undefined) && (
        <>
          <AccountHead />
          <Gauges />
          <div class="budget-columns">
            <SpendChart days={spend.value} isOwn={account.value === identity.value.account} />
            <Savings />
          </div>
          <Breakdown />
          <section class="stack" aria-label={`Limits and tokens of ${account.value}`}>
            <Tabs label="For admins" tabs={ADMIN_TABS} />
          </section>
        </>
      )}
    </>
  );
}
