import { useEffect } from 'preact/hooks';
import { identity } from '../edge/identity.ts';
import { FirstFault } from '../edge/retry-fault.tsx';
import { Alerts } from './alerts.tsx';
import { Breakdown, breakdownFault } from './breakdown.tsx';
import { deployment, keepOverview, overviewFault, PERIODS } from './figures/overview.ts';
import { keepReporting, reportFault } from './figures/report.ts';
import { SpendGauge } from './gauge.tsx';
import { Gauges } from './gauges.tsx';
import { Savings } from './savings-view.tsx';
import { SpendChart } from './spend-chart.tsx';
import { UpstreamsTable } from './upstreams-table.tsx';
import { spentFault, WhoSpent } from './who-spent.tsx';

const TITLES = { day: 'Everybody, today', week: 'Everybody, this week', month: 'Everybody, this month' } as const;

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

/** Shows an admin the whole deployment: what is spent of its budget, by whom, and what went wrong. */
function DeploymentView() {
  useEffect(keepOverview, []);
  const shared = deployment.value;
  return (
    <section class="stack operator" aria-labelledby="operator">
      <h2 id="operator">The deployment</h2>
      {shared && (
        <ul class="gauges">
          {PERIODS.map((period) => {
            const { limit_usd, spent_usd, leased_usd, resets_at } = shared[period];
            return (
              <SpendGauge
                key={period}
                title={TITLES[period]}
                window={{ limit: limit_usd, spent: spent_usd, held: leased_usd, resetsAt: resets_at }}
              />
            );
          })}
        </ul>
      )}
      <WhoSpent />
      <Alerts />
      <UpstreamsTable />
    </section>
  );
}
