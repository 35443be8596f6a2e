import { useEffect } from 'preact/hooks';
import { identity } from '../edge/identity.ts';
import { RetryFault } from '../edge/retry-fault.tsx';
import { AccountPicker } from './account-picker.tsx';
import { Admin } from './admin.tsx';
import { Breakdown, breakdownFault } from './breakdown.tsx';
import { overviewFault } from './figures/overview.ts';
import { account, keepReporting, reportFault } from './figures/report.ts';
import { requestsFault } from './figures/request-list.ts';
import { Gauges } from './gauges.tsx';
import { Operator } from './operator.tsx';
import { RequestsTable } from './requests-table.tsx';
import { Savings } from './savings-view.tsx';
import { SpendChart } from './spend-chart.tsx';
import { spentFault } from './who-spent.tsx';

/** Shows the account's quota status, and what its money was spent on. */
export function Budget() {
  useEffect(keepReporting, []);
  const { admin } = identity.value;
  // Most often one reason has failed all of them: it is told once, and all are asked again.
  const faults = [reportFault, breakdownFault, requestsFault, ...(admin ? [overviewFault, spentFault] : [])];
  const fault = faults.find(({ value }) => value !== undefined)?.value;
  return (
    <div class="page budget">
      <header class="apart page-head">
        <h1>Budget</h1>
        {!admin && <span class="tag">{account.value}</span>}
      </header>
      {fault && <RetryFault text={fault} />}
      {admin && <Operator />}
      <header class="apart page-head account-head">
        <h2 id="account" tabIndex={-1}>
          Account {account.value}
        </h2>
        {admin && <AccountPicker key={account.value} />}
      </header>
      <Gauges />
      <Breakdown />
      <RequestsTable />
      <div class="budget-columns">
        <SpendChart />
        <Savings />
      </div>
      {admin && <Admin key={account.value} />}
    </div>
  );
}
