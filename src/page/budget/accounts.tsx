import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Page } from '../../client/index.ts';
import type { AccountSpendRow, GroupReport } from '../../edge/answers.ts';
import { readJson } from '../edge/client.ts';
import { createTokenSignal } from '../edge/credential.ts';
import { type ListColumn, type ListRowDefinition, PolledList } from '../edge/list.tsx';
import { hasPlugin } from '../edge/plugins.ts';
import { Form, Select, SubmitButton } from '../ui/form.tsx';
import { formatCount, formatExactUsd, formatPercentage, formatRowTime } from '../ui/format.ts';
import { Usd } from '../ui/usd.tsx';
import { AllAccountsNote, BindingLimitCell } from './binding-limits.tsx';
import { accountsOrder, isOrderChosen, sortAccountsByLimitUse } from './figures/accounts-order.ts';
import { computeUsedShare, getLimitTitle, NEARLY_USED_SHARE } from './figures/limit-names.ts';
import { deploymentReport, pollDeploymentReport, readDeploymentReport } from './figures/overview.ts';
import { FocusHeading } from './focus-heading.tsx';
import {
  ACCOUNTS_HREF,
  AccountLink,
  GroupLink,
  navigateToAccount,
  navigateToGroup,
  navigateToRequestsRejectedToday,
} from './links.tsx';

type SpendPeriod = 'day' | 'week' | 'month';

const PERIOD_TEXTS: Readonly<Record<SpendPeriod, string>> = { day: 'today', week: 'this week', month: 'this month' };
const MAX_ACCOUNT_NAMES = 1_000;

const spendPeriod = signal<SpendPeriod>('month');

/** Lists all accounts and groups where they share budgets, which have the lists. A name opens a separate view. */
export function BudgetAccounts() {
  return hasPlugin('pools') ? <AccountLists /> : <AccountFromUrl />;
}

function AccountFromUrl() {
  return (
    <section class="stack" aria-labelledby="accounts">
      <FocusHeading id="accounts" target={ACCOUNTS_HREF}>
        Accounts
      </FocusHeading>
      <OpenAccountForm />
      <p class="quiet">The list of accounts requires the plugin “pools”, which this deployment does not include.</p>
    </section>
  );
}

function AccountLists() {
  useEffect(() => void chooseInitialAccountOrder(), []);
  useEffect(pollDeploymentReport, []);
  return (
    <>
      <section class="stack stacked account-rows" aria-labelledby="accounts">
        <div class="apart">
          <FocusHeading id="accounts" target={ACCOUNTS_HREF}>
            Accounts
          </FocusHeading>
          <div class="inline filters">
            <OpenAccountForm />
            <label class="inline">
              <span class="quiet">Spent</span>
              <Select
                value={spendPeriod.value}
                options={Object.entries(PERIOD_TEXTS)}
                onChoose={(one) => (spendPeriod.value = one as SpendPeriod)}
              />
            </label>
          </div>
        </div>
        {isOrderChosen.value && <DeploymentLimitNote />}
        {isOrderChosen.value ? (
          <PolledList<AccountSpendRow>
            name="Accounts"
            path="/accounts"
            query={{ period: spendPeriod.value }}
            about={({ data }) => <AllAccountsNote rows={data} />}
            columns={createAccountColumns(spendPeriod.value)}
            row={ACCOUNT_ROW}
            sort={accountsOrder}
            empty="No accounts yet. The first request of an account creates it."
          />
        ) : (
          <p class="quiet loading">…</p>
        )}
      </section>
      <section class="stack stacked account-rows" aria-labelledby="groups">
        <h2 id="groups">Groups</h2>
        <PolledList<GroupReport>
          name="Groups"
          path="/groups"
          columns={createGroupColumns(spendPeriod.value)}
          row={{ getKey: ({ id }) => id }}
          empty="No group has limits yet. To set limits that the accounts of a group share, open the group by its name."
        />
        <OpenGroupForm />
      </section>
    </>
  );
}

/** Says how much is used of the limit that all accounts share. The rows have only the limits of accounts and groups. */
function DeploymentLimitNote() {
  const [limit] = deploymentReport.value?.binds ?? [];
  return (
    <p class="quiet">
      The tightest own limit is one of the account or its group.{' '}
      {limit ? (
        <>
          All accounts share the <a href="#/budget">limits of the deployment</a>:{' '}
          {formatPercentage(computeUsedShare(limit))} of {formatExactUsd(limit.limit_usd)},{' '}
          {getLimitTitle(limit.limit).toLowerCase()}.
        </>
      ) : (
        <>
          The <a href="#/budget">deployment</a> has no limit in dollars.
        </>
      )}
    </p>
  );
}

/** Sorts by the tightest limit if an account is nearly at a limit or was rejected, otherwise by spending. */
async function chooseInitialAccountOrder(): Promise<void> {
  if (isOrderChosen.value) return;
  // If one of these requests fails, go on without its answer. The list's own request shows the error.
  const [first] = await Promise.all([
    readJson<Page<AccountSpendRow>>('/accounts', { query: { sort: 'used', limit: 1 } }).catch(() => undefined),
    readDeploymentReport().catch(() => {}),
  ]);
  const [row] = first?.data ?? [];
  const isNeeded =
    row &&
    (row.blocked_by !== null ||
      (row.tightest !== null && (row.tightest.refuses || computeUsedShare(row.tightest) >= NEARLY_USED_SHARE)));
  if (isNeeded) sortAccountsByLimitUse();
  isOrderChosen.value = true;
}

const ACCOUNT_ROW: ListRowDefinition<AccountSpendRow> = { getKey: ({ id }) => id };

function createAccountColumns(spendPeriod: SpendPeriod): ListColumn<AccountSpendRow>[] {
  return [
    {
      name: 'Account',
      sort: 'name',
      kind: 'text',
      renderCell: ({ id }) => <AccountLink account={id} />,
    },
    {
      name: `Spent ${PERIOD_TEXTS[spendPeriod]}`,
      kind: 'number',
      sort: 'spent',
      renderCell: ({ spent_usd }) => <Usd isSum value={spent_usd[spendPeriod]} />,
    },
    {
      name: 'Tightest own limit',
      kind: 'text',
      sort: 'used',
      renderCell: (row) => <BindingLimitCell row={row} isDeploymentIncluded />,
    },
    {
      name: 'Rejected today',
      kind: 'number',
      sort: 'refused',
      renderCell: ({ id, refused_today }) =>
        refused_today > 0 ? (
          <button type="button" class="link" onClick={() => navigateToRequestsRejectedToday(id)}>
            {formatCount(refused_today)}
          </button>
        ) : (
          '0'
        ),
    },
    { name: 'Group', sort: 'group', spare: true, renderCell: ({ group }) => group && <GroupLink group={group} /> },
    {
      name: 'Last request',
      sort: 'last_seen',
      spare: true,
      renderCell: ({ last_seen_at: seen }) => (seen === null ? '' : formatRowTime(seen)),
    },
  ];
}

function createGroupColumns(spendPeriod: SpendPeriod): ListColumn<GroupReport>[] {
  return [
    { name: 'Group', kind: 'text', renderCell: ({ id }) => <GroupLink group={id} /> },
    // The group’s budget does not include what its accounts spent before they joined.
    {
      name: `Spent in the group ${PERIOD_TEXTS[spendPeriod]}`,
      kind: 'number',
      renderCell: (group) => <Usd isSum value={group[spendPeriod].spent_usd} />,
    },
    {
      name: 'Tightest limit',
      kind: 'text',
      renderCell: ({ binds: [tightest = null] }) => <BindingLimitCell row={{ tightest, blocked_by: null }} isOwn />,
    },
    {
      name: 'Rejected today',
      kind: 'number',
      renderCell: ({ refused_today }) => formatCount(refused_today),
    },
  ];
}

const accountNames = createTokenSignal<readonly string[]>([]);

/** Opens an account by its name, which may be one that has asked for nothing yet. */
function OpenAccountForm() {
  const readAccountNames = () =>
    void readJson<Page<{ id: string }>>('/accounts', { query: { limit: MAX_ACCOUNT_NAMES } })
      .then(({ data }) => {
        accountNames.value = data.map(({ id }) => id);
      })
      // Ignore an error here: without suggestions, the user can still type any name.
      .catch(() => {});
  return (
    <Form class="inline" onSubmit={(data) => navigateToAccount(String(data.get('account')).trim())}>
      <label class="inline">
        <span class="quiet">Name</span>
        <input
          name="account"
          list="names"
          autocomplete="off"
          maxLength={128}
          required
          onFocus={hasPlugin('pools') ? readAccountNames : undefined}
        />
      </label>
      <datalist id="names">
        {accountNames.value.map((name) => (
          <option key={name} value={name} />
        ))}
      </datalist>
      <SubmitButton name="Open" kind="plain" />
    </Form>
  );
}

function OpenGroupForm() {
  return (
    <Form class="inline" onSubmit={(data) => navigateToGroup(String(data.get('group')).trim())}>
      <label class="inline">
        <span class="quiet">Group</span>
        <input name="group" autocomplete="off" maxLength={128} required />
      </label>
      <SubmitButton name="Open group" kind="plain" />
    </Form>
  );
}
