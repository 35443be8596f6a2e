import { useEffect } from 'preact/hooks';
import { AlertsList } from './alerts-list.tsx';
import { deployment, keepOverview, PERIODS } from './figures/overview.ts';
import { FindRequest } from './find-request.tsx';
import { SpendGauge } from './gauge.tsx';
import { SpendersTable } from './spenders-table.tsx';
import { WhoSpent } from './who-spent.tsx';

const TITLES = { day: 'Everybody, today', week: 'Everybody, this week', month: 'Everybody, this month' } as const;

/** Shows an admin the whole deployment: what is spent of its budget, by whom, and what went wrong. */
export function Operator() {
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
      <div class="budget-columns">
        <FindRequest />
        <AlertsList />
      </div>
      <SpendersTable />
    </section>
  );
}
