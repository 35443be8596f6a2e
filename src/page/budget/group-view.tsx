import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { encodePathSegment } from '../../client/transport.ts';
import type { AccountSpendRow, GroupReport, ServedRoutePath } from '../../edge/answers.ts';
import { useAsyncAction } from '../edge/async-action.ts';
import { readJson, sendRequest } from '../edge/client.ts';
import { identity } from '../edge/identity.ts';
import { type ListColumn, PolledList } from '../edge/list.tsx';
import { pollIntoSignal, refreshAllPolls } from '../edge/poll.ts';
import { FirstOfFaults } from '../edge/retry-fault.tsx';
import { announceToScreenReader } from '../ui/announcer.tsx';
import { FaultMessage } from '../ui/fault.tsx';
import { Field, Form, SubmitButton } from '../ui/form.tsx';
import { budgetName } from '../ui/route.ts';
import { Usd } from '../ui/usd.tsx';
import { ViewHeader } from './account-view.tsx';
import { AllAccountsNote, BindingLimitCards, BindingLimitCell } from './binding-limits.tsx';
import { Changes } from './changes.tsx';
import { SHARED_LIMIT_NAMES } from './figures/limit-names.ts';
import { LimitList, LimitsForm } from './limits-form.tsx';
import { AccountLink } from './links.tsx';

const GROUP_POLL_MS = 5_000;
const MEMBER_COLUMNS: readonly ListColumn<AccountSpendRow>[] = [
  {
    name: 'Account',
    kind: 'text',
    renderCell: ({ id }) => <AccountLink account={id} />,
  },
  {
    name: 'Spent in the group this month',
    kind: 'number',
    renderCell: ({ spent_usd }) => <Usd isSum value={spent_usd.month} />,
  },
  { name: 'Tightest limit of the account', kind: 'text', renderCell: (row) => <BindingLimitCell row={row} /> },
];

/** Shows an operator one group: its budget, and the accounts that share it. */
export function GroupFromUrl() {
  const id = budgetName.value ?? '';
  return <GroupDetails key={id} id={id} />;
}

function GroupDetails({ id }: { id: string }) {
  const group = useSignal<GroupReport | undefined>(undefined);
  const fault = useSignal<string | undefined>(undefined);
  const path: ServedRoutePath = `/groups/${encodePathSegment(id)}`;
  useEffect(() => pollIntoSignal(group, () => readJson<GroupReport>(path), GROUP_POLL_MS, fault), [path, group, fault]);
  const stands = group.value;
  return (
    <>
      <ViewHeader kind="Group" id={id} />
      <FirstOfFaults of={[fault]} />
      {!stands && fault.value === undefined && <p class="quiet loading">…</p>}
      {stands && (
        <>
          <BindingLimitCards bindingLimits={stands.binds} spentUsd={stands.month.spent_usd} isOwn />
          <section class="panel stack" aria-labelledby="limits">
            <h3 id="limits">Shared limits</h3>
            {identity.value.admin ? (
              <LimitsForm target={{ kind: 'group', id }} ownLimits={stands.limits} names={SHARED_LIMIT_NAMES} />
            ) : (
              <LimitList limits={stands.limits} />
            )}
          </section>
        </>
      )}
      <section class="stack stacked account-rows member-rows" aria-labelledby="members">
        <h3 id="members">Accounts with spending</h3>
        <PolledList<AccountSpendRow>
          name="Accounts of the group"
          path={`/groups/${encodePathSegment(id)}/accounts`}
          about={({ data }) => <AllAccountsNote rows={data} />}
          columns={MEMBER_COLUMNS}
          row={{ getKey: (row) => row.id }}
          empty="No account of this group has spent anything yet."
        />
        <p class="quiet">The spending counts since an account joined the group. Earlier spending is not included.</p>
        {identity.value.admin && <AddGroupMemberForm group={id} />}
      </section>
      <Changes of={{ group: id }} />
    </>
  );
}

function AddGroupMemberForm({ group }: { group: string }) {
  const { isBusy: busy, fault, run } = useAsyncAction();
  const addMember = (form: FormData) =>
    run(async () => {
      const account = String(form.get('account')).trim();
      await sendRequest(`/groups/${encodePathSegment(group)}/accounts/${encodePathSegment(account)}`, {
        method: 'PUT',
      });
      announceToScreenReader(`${account} is in this group. The account is listed after its first request.`);
      refreshAllPolls();
    });
  return (
    <>
      <Form class="inline with-button" onSubmit={(data) => void addMember(data)}>
        <Field label="Move an account here">
          {(ids) => <input {...ids} name="account" autocomplete="off" maxLength={128} required />}
        </Field>
        <SubmitButton name="Move" kind="plain" disabled={busy.value} />
      </Form>
      {fault.value && <FaultMessage text={fault.value} />}
    </>
  );
}
