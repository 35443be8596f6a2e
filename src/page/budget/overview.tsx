import { useEffect, useRef } from 'preact/hooks';
import { identity } from '../edge/identity.ts';
import { hasPlugin } from '../edge/plugins.ts';
import { FirstFault, PartFault } from '../edge/retry-fault.tsx';
import { Alerts } from './alerts.tsx';
import { Binding, BindingCard } from './binding.tsx';
import { Breakdown } from './breakdown.tsx';
import { Broken } from './broken.tsx';
import { SHARED_LIMITS } from './figures/limit-names.ts';
import { deployment, deploymentSpend, keepOverview, overviewFault } from './figures/overview.ts';
import { keepReporting, reportedQuota, reportFault, spend } from './figures/report.ts';
import { SpendGauge } from './gauge.tsx';
import { LimitsForm } from './limits-form.tsx';
import { Savings } from './savings-view.tsx';
import { SpendChart } from './spend-chart.tsx';
import { Upstreams } from './upstreams.tsx';
import { WhoSpent } from './who-spent.tsx';

const PERIODS = ['day', 'week', 'month'] as const;
const TITLES = { day: 'Everybody, today', week: 'Everybody, this week', month: 'Everybody, this month' } as const;

/** Shows an admin the whole deployment, as far as the edge sums it, and everybody else their own budget. */
export function BudgetOverview() {
  if (!identity.value.admin) return <OwnView />;
  if (hasPlugin('pools')) return <DeploymentView />;
  return (
    <>
      <OwnView />
      <Deliveries />
    </>
  );
}

/** What goes to others: alerts, and requests to Claude. */
function Deliveries() {
  return (
    <>
      {hasPlugin('webhooks') && <Alerts />}
      <Upstreams />
    </>
  );
}

function OwnView() {
  useEffect(keepReporting, []);
  return (
    <>
      <FirstFault of={[reportFault]} />
      <Binding stands={reportedQuota.value} />
      <div class="budget-columns">
        <SpendChart days={spend.value} isOwn />
        <Savings />
      </div>
      <Breakdown />
    </>
  );
}

/**
 * Shows what is broken, then what everybody has spent: today, on each day, and who. Longer windows only where they have a
 * limit; a limit that refuses everybody stands first, with its form open.
 */
function DeploymentView() {
  useEffect(keepOverview, []);
  const shared = deployment.value;
  const refusing = shared?.binds.filter(({ refuses }) => refuses) ?? [];
  // Once it is open it stays so: whoever has raised a limit reads that it is saved.
  const hasRefused = useRef(false);
  hasRefused.current ||= refusing.length > 0;
  const isShown = (period: (typeof PERIODS)[number]) => {
    const isRefusing = refusing.some(({ limit }) => limit === `usd_per_${period}`);
    return !isRefusing && (period === 'day' || shared?.[period].limit_usd != null);
  };
  return (
    <>
      {hasPlugin('operator') && <Broken />}
      <PartFault name="What everybody has spent" of={overviewFault} />
      <section class="stack operator" aria-label="The deployment">
        <div class="deployment-columns">
          <div class="stack">
            <ul class="gauges">
              {refusing.map((limit) => (
                <BindingCard key={limit.limit} limit={limit} isOwn={false} />
              ))}
              {PERIODS.filter(isShown).map((period) => {
                const window = shared && { ...shared[period], held_usd: shared[period].leased_usd };
                return <SpendGauge key={period} title={TITLES[period]} window={window} />;
              })}
            </ul>
            {shared?.limits && (
              <details class="aside" open={hasRefused.current}>
                <summary>Limits of all accounts together</summary>
                <LimitsForm of={{ kind: 'deployment', id: '' }} own={shared.limits} names={SHARED_LIMITS} />
              </details>
            )}
          </div>
          <SpendChart days={deploymentSpend.value} isOwn />
        </div>
        <WhoSpent />
        <Deliveries />
      </section>
    </>
  );
}
