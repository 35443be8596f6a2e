import { useSignalEffect } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { identity } from '../edge/identity.ts';
import { hasPlugin } from '../edge/plugins.ts';
import { FirstOfFaults, StalePartFault } from '../edge/retry-fault.tsx';
import { Alerts } from './alerts.tsx';
import { BindingLimitCard, BindingLimits } from './binding-limits.tsx';
import { Breakdown } from './breakdown.tsx';
import { SHARED_LIMIT_NAMES } from './figures/limit-names.ts';
import { deploymentReport, deploymentSpend, overviewFault, pollDeploymentSpend, problems } from './figures/overview.ts';
import type { OwnLimits } from './figures/patch-limits.ts';
import { dailySpend, focusTarget, pollShownAccountReport, reportedQuota, reportFault } from './figures/report.ts';
import { FirstEventChart } from './first-event-chart.tsx';
import { findSmallestLimit, SpendGauge } from './gauge.tsx';
import { LimitsForm } from './limits-form.tsx';
import { DEPLOYMENT_LIMITS_TARGET } from './links.tsx';
import { Problems } from './problems.tsx';
import { Savings } from './savings-view.tsx';
import { SpendChart } from './spend-chart.tsx';
import { TopSpenders } from './top-spenders.tsx';
import { UpstreamHealthList } from './upstreams.tsx';

const SPEND_PERIODS = ['day', 'week', 'month'] as const;
const PERIOD_TITLES = {
  day: 'Deployment, today',
  week: 'Deployment, this week',
  month: 'Deployment, this month',
} as const;

/** Shows an operator the whole deployment, as far as the edge sums it, and everybody else their own budget. */
export function BudgetOverview() {
  if (!identity.value.operator) return <OwnBudgetView />;
  if (hasPlugin('pools')) return <DeploymentView />;
  return (
    <>
      <OwnBudgetView />
      <AlertsAndUpstreams />
    </>
  );
}

/** Shows the calls to other services: alerts, and requests to Claude. */
function AlertsAndUpstreams() {
  return (
    <>
      {hasPlugin('webhooks') && <Alerts />}
      <UpstreamHealthList />
    </>
  );
}

function OwnBudgetView() {
  useEffect(pollShownAccountReport, []);
  return (
    <>
      <FirstOfFaults of={[reportFault]} />
      <BindingLimits stands={reportedQuota.value} />
      <div class="budget-columns">
        <SpendChart days={dailySpend.value} isOwn />
        <Savings />
      </div>
      <Breakdown />
    </>
  );
}

/**
 * Shows the current problems, then the spending of the deployment: today, by day, and by account. Longer windows are shown only
 * if they have a limit. A limit that rejects all requests is shown first, with its form open.
 */
function DeploymentView() {
  useEffect(pollDeploymentSpend, []);
  const shared = deploymentReport.value;
  const refusing = shared?.binds.filter(({ refuses }) => refuses) ?? [];
  // Keep the form open once a limit has rejected requests. It would disappear when the operator raises the limit, and with it
  // the confirmation.
  const hasRefused = useRef(false);
  hasRefused.current ||= refusing.length > 0;
  const isPeriodShown = (period: (typeof SPEND_PERIODS)[number]) => {
    const isRefusing = refusing.some(({ limit }) => limit === `usd_per_${period}`);
    return !isRefusing && (period === 'day' || shared?.[period].limit_usd != null);
  };
  const smallestUsd = findSmallestLimit(SPEND_PERIODS.map((period) => shared?.[period].limit_usd));
  return (
    <>
      {hasPlugin('operator') && <Problems />}
      <StalePartFault name="The spending of the deployment" fault={overviewFault} />
      <section class="stack operator" aria-label="The deployment">
        <ul class="gauges">
          {refusing.map((limit) => (
            <BindingLimitCard key={limit.limit} limit={limit} isOwn={false} smallestUsd={smallestUsd} />
          ))}
          {SPEND_PERIODS.filter(isPeriodShown).map((period) => {
            const window = shared && { ...shared[period], held_usd: shared[period].leased_usd };
            return (
              <SpendGauge key={period} title={PERIOD_TITLES[period]} spendWindow={window} smallestUsd={smallestUsd} />
            );
          })}
        </ul>
        {!shared && overviewFault.value === undefined && <p class="quiet loading">…</p>}
        {identity.value.admin && shared?.limits && (
          <DeploymentLimits limits={shared.limits} isOpen={hasRefused.current} />
        )}
        <SpendChart days={deploymentSpend.value} isOwn />
        <FirstEventChart days={deploymentSpend.value} versions={problems.value?.versions ?? []} />
        <TopSpenders />
        <AlertsAndUpstreams />
      </section>
    </>
  );
}

/** Lets an admin change the limits of the deployment. A link to them opens the form. */
function DeploymentLimits({ limits, isOpen }: { limits: OwnLimits; isOpen: boolean }) {
  const details = useRef<HTMLDetailsElement>(null);
  useSignalEffect(() => {
    if (focusTarget.value !== DEPLOYMENT_LIMITS_TARGET || !details.current) return;
    focusTarget.value = undefined;
    details.current.open = true;
    details.current.querySelector('summary')?.focus();
  });
  return (
    <details ref={details} class="aside" open={isOpen}>
      <summary>Limits of the deployment</summary>
      <LimitsForm target={{ kind: 'deployment', id: '' }} ownLimits={limits} names={SHARED_LIMIT_NAMES} />
    </details>
  );
}
