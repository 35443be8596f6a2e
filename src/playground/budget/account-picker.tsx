import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Page } from '../../client/index.ts';
import { readJson, sentenceOf } from '../edge/client.ts';
import { identity } from '../edge/identity.ts';
import { Form, SubmitButton } from '../ui/form.tsx';
import { budgetView } from '../ui/route.ts';
import { account, goToView, reportFault } from './figures/report.ts';

const MOST_ACCOUNTS = 1_000;

/** Lets an admin choose an account. The list has accounts since their first request; any other name can be typed. */
export function AccountPicker() {
  const names = useSignal<string[]>([]);
  useEffect(() => {
    readJson<Page<{ id: string }>>('/accounts', { query: { limit: MOST_ACCOUNTS } })
      .then(({ data }) => {
        names.value = data.map(({ id }) => id);
      })
      .catch((thrown: unknown) => {
        reportFault.value = sentenceOf(thrown);
      });
  }, [names]);
  return (
    <Form
      class="inline"
      onSubmit={(data) => goToView(budgetView.value, String(data.get('account')).trim() || identity.value.account)}
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
      <SubmitButton name="Show" kind="plain" />
    </Form>
  );
}
