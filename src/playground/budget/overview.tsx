import { useEffect } from 'preact/hooks';
import { identity } from '../edge/identity.ts';
import { Breakdown, breakdownFault } from './breakdown.tsx';
import { DeploymentView } from './deployment-view.tsx';
import { overviewFault } from './figures/overview.ts';
import { keepReporting, reportFault } from './figures/report.ts';
import { FirstFault } from './first-fault.tsx';
import { Gauges } from './gauges.tsx';
import { Savings } from './savings-view.tsx';
import { SpendChart } from './spend-chart.tsx';
import { spentFault } from './who-spent.tsx';

/** Shows one's own budget, and to an admin what the whole deployment spends. */
export function BudgetOverview() {
  useEffect(keepReporting, []);
  const { admin } = identity.value;
  return (
    <>
      <FirstFault of={[reportFault, ...(admin ? [overviewFault, spentFault] : [breakdownFault])]} />
      <Gauges />
      <div class="budget-columns">
        <SpendChart />
        <Savings />
      </div>
      {admin ? <DeploymentView /> : <Breakdown />}
    </>
  );
}
