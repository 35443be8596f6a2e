import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Page } from '../../client/index.ts';
import type { AccountSpendRow, GroupReport } from '../../edge/answers.ts';
import { readJson } from '../edge/client.ts';
import { type Column, List, type RowOf } from '../edge/list.tsx';
import { hasPlugin } from '../edge/plugins.ts';
import { Form, Select, SubmitButton } from '../ui/form.tsx';
import { formatCount, formatMoment } from '../ui/format.ts';
import { Usd } from '../ui/usd.tsx';
import { BindingCell } from './binding.tsx';
import { accountsOrder, isOrderChosen, orderByNeed } from './figures/accounts-order.ts';
import { NEARLY, usedShare } from './figures/limit-names.ts';
import { LedHeading } from './led-heading.tsx';
import { ACCOUNTS, AccountLink, GroupLink, showAccount, showGroup, showRefusedToday } from './links.tsx';

type Period = 'day' | 'week' | 'month';

const SPENT_IN = [
  ['day', 'today'],
  ['week', 'this week'],
  ['month', 'this month'],
] as const;
const MOST_ACCOUNT_NAMES = 1_000;

const period = signal<Period>('month');

/** Lists all accounts and groups where they share budgets, which have the lists. A name opens a view of its own. */
export function BudgetAccounts() {
  return hasPlugin('pools') ? <AccountLists /> : <AccountByName />;
}

function AccountByName() {
  return (
    <section class="stack" aria-labelledby="accounts">
      <LedHeading id="accounts" to={ACCOUNTS}>
        Accounts
      </LedHeading>
      <OpenAccount />
      <p class="quiet">A list of all accounts needs the plugin “pools”, which this edge does not include.</p>
    </section>
  );
}

function AccountLists() {
  useEffect(() => void sortByNeed(), []);
  return (
    <>
      <section class="stack" aria-labelledby="accounts">
        <div class="apart">
          <LedHeading id="accounts" to={ACCOUNTS}>
            Accounts
          </LedHeading>
          <div class="inline filters">
            <OpenAccount />
            <label class="inline">
              <span class="quiet">Spent</span>
              <Select value={period.value} options={SPENT_IN} onChoose={(one) => (period.value = one as Period)} />
            </label>
          </div>
        </div>
        <List<AccountSpendRow>
          name="Accounts"
          path="/accounts"
          query={{ period: period.value }}
          columns={accountColumns(period.value)}
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
          columns={groupColumns(period.value)}
          row={{ key: ({ id }) => id }}
          empty="No group has limits. Accounts of a group share a budget: open one by its name to give it one."
        />
        <OpenGroup />
      </section>
    </>
  );
}

/** Begins with the tightest where somebody is nearly at a limit or refused, else with who spent most. */
async function sortByNeed(): Promise<void> {
  if (isOrderChosen.value) return;
  // Without it the list stands in its usual order, and says itself why it cannot be read.
  const first = await readJson<Page<AccountSpendRow>>('/accounts', { query: { sort: 'used', limit: 1 } }).catch(
    () => undefined,
  );
  const [row] = first?.data ?? [];
  const isNeeded = row && (row.blocked_by !== null || (row.tightest !== null && usedShare(row.tightest) >= NEARLY));
  if (isNeeded) orderByNeed();
  isOrderChosen.value = true;
}

const ACCOUNT_ROW: RowOf<AccountSpendRow> = { key: ({ id }) => id };

function accountColumns(of: Period): Column<AccountSpendRow>[] {
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
    { name: 'Spent', kind: 'number', sort: 'spent', cell: ({ spent_usd }) => <Usd value={spent_usd[of]} /> },
    { name: 'Tightest limit', kind: 'text', sort: 'used', cell: (row) => <BindingCell row={row} /> },
    {
      name: 'Refused today',
      kind: 'number',
      sort: 'refused',
      cell: ({ id, refused_today }) =>
        refused_today > 0 && (
          <button type="button" class="link" onClick={() => showRefusedToday(id)}>
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

function groupColumns(of: Period): Column<GroupReport>[] {
  return [
    { name: 'Group', kind: 'text', cell: ({ id }) => <GroupLink group={id} /> },
    { name: 'Spent', kind: 'number', cell: (group) => <Usd value={group[of].spent_usd} /> },
    {
      name: 'Tightest limit',
      kind: 'text',
      cell: ({ binds: [tightest = null] }) => <BindingCell row={{ tightest, blocked_by: null }} isOwn />,
    },
  ];
}

const names = signal<readonly string[]>([]);

/** Opens an account by its name, which may be one that has asked for nothing yet. */
function OpenAccount() {
  const readNames = () =>
    void readJson<Page<{ id: string }>>('/accounts', { query: { limit: MOST_ACCOUNT_NAMES } })
      .then(({ data }) => {
        names.value = data.map(({ id }) => id);
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
        {names.value.map((name) => (
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
