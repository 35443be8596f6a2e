import { useEffect } from 'preact/hooks';
import { identity } from '../edge/identity.ts';
import { RetryFault } from '../edge/retry-fault.tsx';
import { AccountPicker } from './account-picker.tsx';
import { Admin } from './admin.tsx';
import { Gauges } from './gauges.tsx';
import { Operator } from './operator.tsx';
import { account, keepReporting, reportFault } from './report.ts';
import { RequestsTable } from './requests-table.tsx';
import { Savings } from './savings-view.tsx';
import { SpendChart } from './spend-chart.tsx';

/** Shows the account's quota status, and what its money was spent on. */
export function Budget() {
  useEffect(keepReporting, []);
  const { admin } = identity.value;
  return (
    <div class="page budget">
      <header class="apart page-head">
        <h1>Budget</h1>
        {admin ? <AccountPicker /> : <span class="tag">{account.value}</span>}
      </header>
      {admin && <Operator />}
      {reportFault.value && <RetryFault text={reportFault.value} />}
      <Gauges />
      <div class="budget-columns">
        <SpendChart />
        <Savings />
      </div>
      <RequestsTable />
      {admin && <Admin key={account.value} />}
    </div>
  );
}
