import { useSignal, useSignalEffect } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { Page } from '../../client/index.ts';
import { readJson, sentenceOf } from '../edge/client.ts';
import { identity } from '../edge/identity.ts';
import { Form, SubmitButton } from '../ui/form.tsx';
import { budgetView } from '../ui/route.ts';
import { account, goToView, ledTo, reportFault } from './figures/report.ts';

const MOST_ACCOUNTS = 1_000;

/** Says whose figures follow, and lets an admin choose another account. Whoever is led to an account arrives here. */
export function AccountHead() {
  const heading = useRef<HTMLHeadingElement>(null);
  useSignalEffect(() => {
    // The one that stands over the requests is left for that.
    if (budgetView.value !== 'accounts' || ledTo.value !== account.value) return;
    ledTo.value = undefined;
    heading.current?.scrollIntoView({ block: 'start' });
    heading.current?.focus({ preventScroll: true });
  });
  return (
    <header class="apart page-head account-head">
      <h2 ref={heading} id="account" tabIndex={-1}>
        Account {account.value}
      </h2>
      <AccountPicker key={account.value} />
    </header>
  );
}

/** Lets an admin choose an account. The list has accounts since their first request; any other name can be typed. */
function AccountPicker() {
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
