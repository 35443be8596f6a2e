import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Page } from '../../client/index.ts';
import type { AccountSpendRow, GroupReport } from '../../edge/answers.ts';
import { readJson } from '../edge/client.ts';
import { type Column, List, type RowDefinition } from '../edge/list.tsx';
import { hasPlugin } from '../edge/plugins.ts';
import { Form, Select, SubmitButton } from '../ui/form.tsx';
import { formatCount, formatMoment } from '../ui/format.ts';
import { Usd } from '../ui/usd.tsx';
import { BindingCell } from './binding-limits.tsx';
import { accountsOrder, isOrderChosen, orderByNeed } from './figures/accounts-order.ts';
import { NEARLY_USED_SHARE, usedShareOf } from './figures/limit-names.ts';
import { FocusHeading } from './focus-heading.tsx';
import { ACCOUNTS_HREF, AccountLink, GroupLink, showAccount, showGroup, showRejectedToday } from './links.tsx';

type SpendPeriod = 'day' | 'week' | 'month';

const PERIOD_OPTIONS = [
  ['day', 'today'],
  ['week', 'this week'],
  ['month', 'this month'],
] as const;
const MAX_ACCOUNT_NAMES = 1_000;

const spendPeriod = signal<SpendPeriod>('month');

/** Lists all accounts and groups where they share budgets, which have the lists. A name opens a view of its own. */
export function BudgetAccounts() {
  return hasPlugin('pools') ? <AccountLists /> : <AccountByName />;
}

function AccountByName() {
  return (
    <section class="stack" aria-labelledby="accounts">
      <FocusHeading id="accounts" target={ACCOUNTS_HREF}>
        Accounts
      </FocusHeading>
      <OpenAccount />
      <p class="quiet">A list of all accounts needs the plugin “pools”, which this edge does not include.</p>
    </section>
  );
}

function AccountLists() {
  useEffect(() => void chooseInitialOrder(), []);
  return (
    <>
      <section class="stack" aria-labelledby="accounts">
        <div class="apart">
          <FocusHeading id="accounts" target={ACCOUNTS_HREF}>
            Accounts
          </FocusHeading>
          <div class="inline filters">
            <OpenAccount />
            <label class="inline">
              <span class="quiet">Spent</span>
              <Select
                value={spendPeriod.value}
                options={PERIOD_OPTIONS}
                onChoose={(one) => (spendPeriod.value = one as SpendPeriod)}
              />
            </label>
          </div>
        </div>
        <List<AccountSpendRow>
          name="Accounts"
          path="/accounts"
          query={{ period: spendPeriod.value }}
          columns={createAccountColumns(spendPeriod.value)}
          row={ACCOUNT_ROW}
          sort={accountsOrder}
          empty="No account has asked for anything yet. An account is made by its first request."
        />
      </section>
      <section class="stack" aria-labelledby="groups">
        <h2 id="groups">Groups</h2>
        <List<GroupReport>
          name="Groups"
          path="/groups"
          columns={createGroupColumns(spendPeriod.value)}
          row={{ key: ({ id }) => id }}
          empty="No group has limits. Accounts of a group share a budget: open one by its name to give it one."
        />
        <OpenGroup />
      </section>
    </>
  );
}

/** Begins with the tightest where somebody is nearly at a limit or refused, else with who spent most. */
async function chooseInitialOrder(): Promise<void> {
  if (isOrderChosen.value) return;
  // Without it the list stands in its usual order, and says itself why it cannot be read.
  const first = await readJson<Page<AccountSpendRow>>('/accounts', { query: { sort: 'used', limit: 1 } }).catch(
    () => undefined,
  );
  const [row] = first?.data ?? [];
  const isNeeded =
    row && (row.blocked_by !== null || (row.tightest !== null && usedShareOf(row.tightest) >= NEARLY_USED_SHARE));
  if (isNeeded) orderByNeed();
  isOrderChosen.value = true;
}

const ACCOUNT_ROW: RowDefinition<AccountSpendRow> = { key: ({ id }) => id };

function createAccountColumns(spendPeriod: SpendPeriod): Column<AccountSpendRow>[] {
  return [
    {
      name: 'Account',
      sort: 'name',
      kind: 'text',
      cell: ({ id, group }) => (
        <>
          <AccountLink account={id} />
          {group !== null && (
            <span class="narrow">
              of <GroupLink group={group} />
            </span>
          )}
        </>
      ),
    },
    { name: 'Spent', kind: 'number', sort: 'spent', cell: ({ spent_usd }) => <Usd value={spent_usd[spendPeriod]} /> },
    { name: 'Tightest limit', kind: 'text', sort: 'used', cell: (row) => <BindingCell row={row} /> },
    {
      name: 'Refused today',
      kind: 'number',
      sort: 'refused',
      cell: ({ id, refused_today }) =>
        refused_today > 0 && (
          <button type="button" class="link" onClick={() => showRejectedToday(id)}>
            {formatCount(refused_today)}
          </button>
        ),
    },
    { name: 'Group', sort: 'group', spare: true, cell: ({ group }) => group && <GroupLink group={group} /> },
    {
      name: 'Last request',
      sort: 'last_seen',
      spare: true,
      cell: ({ last_seen_at: seen }) => (seen === null ? '' : formatMoment(seen)),
    },
  ];
}

function createGroupColumns(spendPeriod: SpendPeriod): Column<GroupReport>[] {
  return [
    { name: 'Group', kind: 'text', cell: ({ id }) => <GroupLink group={id} /> },
    { name: 'Spent', kind: 'number', cell: (group) => <Usd value={group[spendPeriod].spent_usd} /> },
    {
      name: 'Tightest limit',
      kind: 'text',
      cell: ({ binds: [tightest = null] }) => <BindingCell row={{ tightest, blocked_by: null }} isOwn />,
    },
  ];
}

const accountNames = signal<readonly string[]>([]);

/** Opens an account by its name, which may be one that has asked for nothing yet. */
function OpenAccount() {
  const readNames = () =>
    void readJson<Page<{ id: string }>>('/accounts', { query: { limit: MAX_ACCOUNT_NAMES } })
      .then(({ data }) => {
        accountNames.value = data.map(({ id }) => id);
      })
      // Any name can be typed without them.
      .catch(() => {});
  return (
    <Form class="inline" onSubmit={(data) => showAccount(String(data.get('account')).trim())}>
      <label class="inline">
        <span class="quiet">Name</span>
        <input
          name="account"
          list="names"
          autocomplete="off"
          maxLength={128}
          required
          onFocus={hasPlugin('pools') ? readNames : undefined}
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

function OpenGroup() {
  return (
    <Form class="inline" onSubmit={(data) => showGroup(String(data.get('group')).trim())}>
      <label class="inline">
        <span class="quiet">Group</span>
        <input name="group" autocomplete="off" maxLength={128} required />
      </label>
      <SubmitButton name="Open group" kind="plain" />
    </Form>
  );
}
