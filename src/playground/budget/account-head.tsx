import { useSignalEffect } from '@preact/signals';
import { useRef } from 'preact/hooks';
import { budgetView } from '../ui/route.ts';
import { AccountPicker } from './account-picker.tsx';
import { account, ledTo } from './figures/report.ts';

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
