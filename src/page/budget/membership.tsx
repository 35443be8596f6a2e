import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Page } from '../../client/index.ts';
import { encodePathSegment } from '../../client/transport.ts';
import { useAsyncAction } from '../edge/async-action.ts';
import { readJson, sendRequest } from '../edge/client.ts';
import { identity } from '../edge/identity.ts';
import { refreshAllPolls } from '../edge/poll.ts';
import { announceToScreenReader } from '../ui/announcer.tsx';
import { FaultMessage } from '../ui/fault.tsx';
import { Field, Form, SubmitButton } from '../ui/form.tsx';
import { GroupLink } from './links.tsx';

const MAX_GROUPS = 1_000;

/** Shows the group of an account, and moves the account to another group, or out of it. */
export function GroupMembership({ account, group }: { account: string; group: string | null }) {
  const [reading, { isBusy: busy, fault, run }] = [useAsyncAction(), useAsyncAction()];
  const names = useSignal<readonly string[]>([]);
  useEffect(() => {
    void reading.run(async () => {
      const { data } = await readJson<Page<{ id: string }>>('/groups', { query: { limit: MAX_GROUPS } });
      names.value = data.map(({ id }) => id);
    });
  }, [reading, names]);
  const moveToGroup = (form: FormData) =>
    run(async () => {
      const to = String(form.get('group')).trim();
      if (to !== '')
        await sendRequest(`/groups/${encodePathSegment(to)}/accounts/${encodePathSegment(account)}`, {
          method: 'PUT',
        });
      else if (group !== null)
        await sendRequest(`/groups/${encodePathSegment(group)}/accounts/${encodePathSegment(account)}`, {
          method: 'DELETE',
        });
      announceToScreenReader(to === '' ? 'The account is in no group.' : `The account is in the group ${to}.`);
      refreshAllPolls();
    });
  return (
    <section class="panel stack" aria-labelledby="group">
      <h3 id="group">Group</h3>
      <p class="quiet">
        {group === null
          ? 'No group is assigned. The account’s tokens can name a group.'
          : 'The account shares the budget of '}
        {group !== null && <GroupLink group={group} />}
      </p>
      {identity.value.admin && (
        <Form class="inline with-button" onSubmit={(data) => void moveToGroup(data)}>
          <Field label="Move to group" note="Leave empty to remove the account from its group.">
            {(ids) => (
              <>
                <input
                  {...ids}
                  key={group}
                  name="group"
                  list="groups-of-all"
                  autocomplete="off"
                  maxLength={128}
                  defaultValue={group ?? ''}
                />
                <datalist id="groups-of-all">
                  {names.value.map((name) => (
                    <option key={name} value={name} />
                  ))}
                </datalist>
              </>
            )}
          </Field>
          <SubmitButton name="Move" kind="plain" disabled={busy.value} />
        </Form>
      )}
      {(fault.value ?? reading.fault.value) && <FaultMessage text={fault.value ?? reading.fault.value ?? ''} />}
    </section>
  );
}
