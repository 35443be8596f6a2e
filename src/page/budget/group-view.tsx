import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { encodePathSegment } from '../../client/transport.ts';
import type { AccountSpendRow, GroupReport, ServedPath } from '../../edge/answers.ts';
import { useAction } from '../edge/async-action.ts';
import { getClient, readJson } from '../edge/client.ts';
import { type Column, List } from '../edge/list.tsx';
import { pollInto, pollNow } from '../edge/poll.ts';
import { FirstFault } from '../edge/retry-fault.tsx';
import { announce } from '../ui/announcer.tsx';
import { Fault } from '../ui/fault.tsx';
import { Field, Form, SubmitButton } from '../ui/form.tsx';
import { budgetName } from '../ui/route.ts';
import { Usd } from '../ui/usd.tsx';
import { ViewHead } from './account-view.tsx';
import { BindingCards, BindingCell } from './binding-limits.tsx';
import { SHARED_LIMIT_NAMES } from './figures/limit-names.ts';
import { LimitsForm } from './limits-form.tsx';
import { showAccount } from './links.tsx';

const GROUP_POLL_MS = 5_000;
const MEMBER_COLUMNS: readonly Column<AccountSpendRow>[] = [
  {
    name: 'Account',
    kind: 'text',
    cell: ({ id }) => (
      <button type="button" class="link" onClick={() => showAccount(id)}>
        {id}
      </button>
    ),
  },
  { name: 'Spent of it this month', kind: 'number', cell: ({ spent_usd }) => <Usd value={spent_usd.month} /> },
  { name: 'Tightest limit of its own', kind: 'text', cell: (row) => <BindingCell row={row} /> },
];

/** Shows an admin one group: its budget, and the accounts that share it. */
export function GroupView() {
  const id = budgetName.value ?? '';
  return <Group key={id} id={id} />;
}

function Group({ id }: { id: string }) {
  const group = useSignal<GroupReport | undefined>(undefined);
  const fault = useSignal<string | undefined>(undefined);
  const path: ServedPath = `/groups/${encodePathSegment(id)}`;
  useEffect(() => pollInto(group, () => readJson<GroupReport>(path), GROUP_POLL_MS, fault), [path, group, fault]);
  const stands = group.value;
  return (
    <>
      <ViewHead kind="Group" id={id} />
      <FirstFault of={[fault]} />
      {stands && (
        <>
          <BindingCards bindingLimits={stands.binds} spentUsd={stands.month.spent_usd} isOwn />
          <section class="panel stack" aria-labelledby="limits">
            <h3 id="limits">Limits that its accounts share</h3>
            <LimitsForm target={{ kind: 'group', id }} ownLimits={stands.limits} names={SHARED_LIMIT_NAMES} />
          </section>
        </>
      )}
      <section class="stack" aria-labelledby="members">
        <h3 id="members">Accounts that spend of it</h3>
        <List<AccountSpendRow>
          name="Accounts of the group"
          path={`/groups/${encodePathSegment(id)}/accounts`}
          columns={MEMBER_COLUMNS}
          row={{ key: (row) => row.id }}
          empty="No account has spent of it yet."
        />
        <AddMember group={id} />
      </section>
    </>
  );
}

function AddMember({ group }: { group: string }) {
  const { isBusy: busy, fault, run } = useAction();
  const add = (form: FormData) =>
    run(async () => {
      const account = String(form.get('account')).trim();
      await getClient().fetch(`/groups/${encodePathSegment(group)}/accounts/${encodePathSegment(account)}`, {
        method: 'PUT',
      });
      announce(`${account} is in this group. It is listed once it has asked for something.`);
      pollNow();
    });
  return (
    <>
      <Form class="inline with-button" onSubmit={(data) => void add(data)}>
        <Field label="Move an account here">
          {(ids) => <input {...ids} name="account" autocomplete="off" maxLength={128} required />}
        </Field>
        <SubmitButton name="Move" kind="plain" disabled={busy.value} />
      </Form>
      {fault.value && <Fault text={fault.value} />}
    </>
  );
}
