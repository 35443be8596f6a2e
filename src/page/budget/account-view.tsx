import { Fragment } from 'preact';
import { useEffect } from 'preact/hooks';
import type { AccountQuota } from '../edge/account.ts';
import { identity } from '../edge/identity.ts';
import { hasPlugin } from '../edge/plugins.ts';
import { FirstOfFaults } from '../edge/retry-fault.tsx';
import { formatExactTime } from '../ui/format.ts';
import { BindingLimits } from './binding-limits.tsx';
import { Breakdown } from './breakdown.tsx';
import { Changes } from './changes.tsx';
import { Credit } from './credit.tsx';
import { LIMIT_FORMS } from './figures/limit-names.ts';
import { listRefusedRequestsIfNewest } from './figures/listed-requests.ts';
import {
  dailySpend,
  focusTarget,
  pollShownAccountReport,
  reportedQuota,
  reportFault,
  shownAccount,
} from './figures/report.ts';
import { FocusHeading } from './focus-heading.tsx';
import { LimitList, LimitsForm } from './limits-form.tsx';
import { ACCOUNTS_HREF, navigateToAccountRequests } from './links.tsx';
import { GroupMembership } from './membership.tsx';
import { Savings } from './savings-view.tsx';
import { SpendChart } from './spend-chart.tsx';
import { Tokens } from './tokens.tsx';

const LIMIT_NAMES = Object.keys(LIMIT_FORMS) as (keyof typeof LIMIT_FORMS)[];

/** Shows an operator one account: what binds it, what an admin can change, and what it has spent. */
export function AccountView() {
  useEffect(pollShownAccountReport, []);
  const id = shownAccount.value;
  const stands = reportedQuota.value;
  return (
    <>
      <ViewHeader kind="Account" id={id}>
        <button
          type="button"
          class="link"
          onClick={() => {
            navigateToAccountRequests(id);
            void listRefusedRequestsIfNewest(id);
          }}
        >
          Requests
        </button>
      </ViewHeader>
      <FirstOfFaults of={[reportFault]} />
      {stands?.erased_at !== undefined && (
        <p class="quiet">This account was erased on {formatExactTime(stands.erased_at)}.</p>
      )}
      <BindingLimits stands={stands} />
      {stands && stands.erased_at === undefined && hasNoAccountData(stands) && (
        <p class="quiet">This account has no spending and no limits. Check its name.</p>
      )}
      {stands && (
        <Fragment key={id}>
          <section class="panel stack" aria-labelledby="limits">
            <h3 id="limits">Limits</h3>
            {identity.value.admin ? (
              <LimitsForm
                target={{ kind: 'account', id }}
                ownLimits={stands.own_limits ?? {}}
                names={LIMIT_NAMES}
                inForce={stands.limits}
              />
            ) : (
              <LimitList hasCredit limits={stands.limits} />
            )}
          </section>
          <div class="budget-columns account-forms">
            {hasPlugin('pools') && <GroupMembership account={id} group={stands.group} />}
            <Credit account={id} hasTotal={stands.total.limit_usd !== null} />
          </div>
        </Fragment>
      )}
      <section class="panel stack" aria-labelledby="tokens" key={`tokens of ${id}`}>
        <h3 id="tokens">Tokens</h3>
        <Tokens account={id} />
      </section>
      <Changes key={`changes of ${id}`} of={{ account: id }} />
      <Breakdown />
      <div class="budget-columns">
        <SpendChart days={dailySpend.value} isOwn={id === identity.value.account} />
        <Savings />
      </div>
    </>
  );
}

/** @returns whether nothing is known of an account: it may be one that does not exist */
function hasNoAccountData({ total, own_limits: own, group }: AccountQuota): boolean {
  return total.settled_usd === 0 && total.held_usd === 0 && own === null && group === null;
}

interface ViewHeaderProps {
  kind: 'Account' | 'Group';
  id: string;
  children?: preact.ComponentChildren;
}

/** Shows whose view it is, with a link back to the list. A link to this view moves the focus to its heading. */
export function ViewHeader({ kind, id, children }: ViewHeaderProps) {
  return (
    <header class="apart view-head">
      <FocusHeading target={id}>
        {kind} {id}
      </FocusHeading>
      <span class="inline">
        {children}
        <a href={ACCOUNTS_HREF} onClick={() => (focusTarget.value = ACCOUNTS_HREF)}>
          All accounts
        </a>
      </span>
    </header>
  );
}
