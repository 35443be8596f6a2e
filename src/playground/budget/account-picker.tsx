import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Page } from '../../client/index.ts';
import { edge, sentenceOf } from '../edge/client.ts';
import { identity } from '../edge/identity.ts';
import { account, reportFault } from './report.ts';

const MOST_ACCOUNTS = 1_000;

/** Lets an admin choose an account. The list has accounts since their first request; any other name can be typed. */
export function AccountPicker() {
  const names = useSignal<string[]>([]);
  useEffect(() => {
    edge()
      .fetch('/accounts', { query: { limit: MOST_ACCOUNTS } })
      .then(async (response) => {
        names.value = ((await response.json()) as Page<{ id: string }>).data.map(({ id }) => id);
      })
      .catch((thrown: unknown) => {
        reportFault.value = sentenceOf(thrown);
      });
  }, [names]);
  return (
    <form
      class="inline"
      onSubmit={(event) => {
        event.preventDefault();
        account.value = String(new FormData(event.currentTarget).get('account')).trim() || identity.value.account;
      }}
    >
      <label class="inline">
        <span class="quiet">Account</span>
        <input name="account" list="accounts" autocomplete="off" maxLength={128} defaultValue={account.value} />
      </label>
      <datalist id="accounts">
        {names.value.map((name) => (
          <option key={name} value={name} />
        ))}
      </datalist>
      <button type="submit" class="button plain">
        Show
      </button>
    </form>
  );
}
