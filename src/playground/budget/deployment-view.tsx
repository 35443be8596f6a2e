import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { Alerts } from './alerts.tsx';
import { deployment, keepOverview, PERIODS } from './figures/overview.ts';
import { SpendGauge } from './gauge.tsx';
import { readUpstreams, UpstreamsTable } from './upstreams-table.tsx';
import { WhoSpent } from './who-spent.tsx';

const TITLES = { day: 'Everybody, today', week: 'Everybody, this week', month: 'Everybody, this month' } as const;

/** Shows an admin the whole deployment: what is spent of its budget, by whom, and what went wrong. */
export function DeploymentView() {
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
      <Upstreams />
    </section>
  );
}

/** Shows how each upstream is, where there are several. */
function Upstreams() {
  const hasUpstreams = useSignal(false);
  useEffect(() => {
    readUpstreams()
      .then((upstreams) => {
        hasUpstreams.value = upstreams.length > 0;
      })
      // Without an answer that part is left out.
      .catch(() => {});
  }, [hasUpstreams]);
  if (!hasUpstreams.value) return null;
  return (
    <section class="stack" aria-labelledby="upstreams">
      <h3 id="upstreams">Upstreams</h3>
      <UpstreamsTable />
    </section>
  );
}
