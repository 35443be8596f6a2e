import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { Tabs } from '../ui/tabs.tsx';
import { Alerts } from './alerts.tsx';
import { deployment, keepOverview, PERIODS } from './figures/overview.ts';
import { SpendGauge } from './gauge.tsx';
import { PrefixesTable } from './prefixes-table.tsx';
import { SpeedTable } from './speed-table.tsx';
import { readUpstreams, UpstreamsTable } from './upstreams-table.tsx';
import { WhoSpent } from './who-spent.tsx';

const TITLES = { day: 'Everybody, today', week: 'Everybody, this week', month: 'Everybody, this month' } as const;

/** Shows an admin the whole deployment: what is spent of its budget, by whom, what went wrong, and what all accounts use. */
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
      <SpeedTable />
      <Alerts />
      <SharedByAll />
    </section>
  );
}

function SharedByAll() {
  const hasUpstreams = useSignal(false);
  useEffect(() => {
    readUpstreams()
      .then((upstreams) => {
        hasUpstreams.value = upstreams.length > 0;
      })
      // Without an answer that part is left out.
      .catch(() => {});
  }, [hasUpstreams]);
  const tabs = [
    { name: 'Prefixes', content: () => <PrefixesTable /> },
    ...(hasUpstreams.value ? [{ name: 'Upstreams', content: () => <UpstreamsTable /> }] : []),
  ];
  return (
    <section class="stack" aria-labelledby="shared">
      <h3 id="shared">Used by all accounts</h3>
      <Tabs label="Used by all accounts" tabs={tabs} />
    </section>
  );
}
