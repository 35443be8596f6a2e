import { useEffect } from 'preact/hooks';
import type { AccountQuota } from '../edge/account.ts';
import { identity } from '../edge/identity.ts';
import { hasPlugin } from '../edge/plugins.ts';
import { FirstFault } from '../edge/retry-fault.tsx';
import { Binding } from './binding.tsx';
import { Breakdown } from './breakdown.tsx';
import { Credit } from './credit.tsx';
import { LIMITS } from './figures/limit-names.ts';
import { listNewest } from './figures/listed-requests.ts';
import { account, keepReporting, ledTo, reportedQuota, reportFault, spend } from './figures/report.ts';
import { LedHeading } from './led-heading.tsx';
import { LimitsForm } from './limits-form.tsx';
import { ACCOUNTS, showRequests } from './links.tsx';
import { GroupOf } from './membership.tsx';
import { Savings } from './savings-view.tsx';
import { SpendChart } from './spend-chart.tsx';
import { Tokens } from './tokens.tsx';

const ALL_LIMITS = Object.keys(LIMITS) as (keyof typeof LIMITS)[];

/** Shows an admin one account: what binds it, what can be changed, and what it has spent. */
export function AccountView() {
  useEffect(keepReporting, []);
  const id = account.value;
  const stands = reportedQuota.value;
  return (
    <>
      <ViewHead kind="Account" id={id}>
        <button
          type="button"
          class="link"
          onClick={() => {
            showRequests(id);
            void listNewest(id);
          }}
        >
          Its requests
        </button>
      </ViewHead>
      <FirstFault of={[reportFault]} />
      <Binding stands={stands} />
      {stands && isUnused(stands) && (
        <p class="quiet">It has spent nothing and has no limits of its own. Is the name right?</p>
      )}
      {stands && (
        <div class="budget-columns" key={id}>
          <section class="panel stack" aria-labelledby="limits">
            <h3 id="limits">Limits</h3>
            <LimitsForm
              of={{ kind: 'account', id }}
              own={stands.own_limits ?? {}}
              names={ALL_LIMITS.filter((name) => name !== 'alerts' || hasPlugin('operator'))}
              inForce={stands.limits}
            />
          </section>
          <div class="stack">
            {hasPlugin('pools') && <GroupOf account={id} group={stands.group} />}
            <Credit account={id} hasTotal={stands.total.limit_usd !== null} />
          </div>
        </div>
      )}
      <section class="panel stack" aria-labelledby="tokens" key={`tokens of ${id}`}>
        <h3 id="tokens">Tokens</h3>
        <Tokens account={id} />
      </section>
      <Breakdown />
      <div class="budget-columns">
        <SpendChart days={spend.value} isOwn={id === identity.value.account} />
        <Savings />
      </div>
    </>
  );
}

/** @returns whether nothing is known of an account: it may be one that does not exist */
function isUnused({ total, own_limits: own, group }: AccountQuota): boolean {
  return total.settled_usd === 0 && total.held_usd === 0 && own === null && group === null;
}

interface ViewHeadProps {
  kind: 'Account' | 'Group';
  id: string;
  children?: preact.ComponentChildren;
}

/** Says whose view it is, and leads back to the list. Whoever is led here arrives at its heading. */
export function ViewHead({ kind, id, children }: ViewHeadProps) {
  return (
    <header class="apart view-head">
      <LedHeading to={id}>
        {kind} {id}
      </LedHeading>
      <span class="inline">
        {children}
        <a href={ACCOUNTS} onClick={() => (ledTo.value = ACCOUNTS)}>
          All accounts
        </a>
      </span>
    </header>
  );
}
