import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { inPath } from '../../client/transport.ts';
import type { AccountSpendRow, GroupReport, ServedPath } from '../../edge/answers.ts';
import { useAction } from '../edge/async-action.ts';
import { edge, readJson } from '../edge/client.ts';
import { type Column, List } from '../edge/list.tsx';
import { pollInto, pollNow } from '../edge/poll.ts';
import { FirstFault } from '../edge/retry-fault.tsx';
import { announce } from '../ui/announcer.tsx';
import { Fault } from '../ui/fault.tsx';
import { Field, Form, SubmitButton } from '../ui/form.tsx';
import { budgetName } from '../ui/route.ts';
import { Usd } from '../ui/usd.tsx';
import { ViewHead } from './account-view.tsx';
import { BindingCards, BindingCell } from './binding.tsx';
import { SHARED_LIMITS } from './figures/limit-names.ts';
import { LimitsForm } from './limits-form.tsx';
import { showAccount } from './links.tsx';

const GROUP_EVERY_MS = 5_000;
const MEMBERS: readonly Column<AccountSpendRow>[] = [
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
  const path: ServedPath = `/groups/${inPath(id)}`;
  useEffect(() => pollInto(group, () => readJson<GroupReport>(path), GROUP_EVERY_MS, fault), [path, group, fault]);
  const stands = group.value;
  return (
    <>
      <ViewHead kind="Group" id={id} />
      <FirstFault of={[fault]} />
      {stands && (
        <>
          <BindingCards binds={stands.binds} spent={stands.month.spent_usd} isOwn />
          <section class="panel stack" aria-labelledby="limits">
            <h3 id="limits">Limits that its accounts share</h3>
            <LimitsForm of={{ kind: 'group', id }} own={stands.limits} names={SHARED_LIMITS} />
          </section>
        </>
      )}
      <section class="stack" aria-labelledby="members">
        <h3 id="members">Accounts that spend of it</h3>
        <List<AccountSpendRow>
          name="Accounts of the group"
          path={`/groups/${inPath(id)}/accounts`}
          columns={MEMBERS}
          row={{ key: (row) => row.id }}
          empty="No account has spent of it yet."
        />
        <AddMember group={id} />
      </section>
    </>
  );
}

function AddMember({ group }: { group: string }) {
  const { busy, fault, run } = useAction();
  const add = (form: FormData) =>
    run(async () => {
      const account = String(form.get('account')).trim();
      await edge().fetch(`/groups/${inPath(group)}/accounts/${inPath(account)}`, { method: 'PUT' });
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
