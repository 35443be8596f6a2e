/** Leads to views of accounts and groups. */
import { go } from '../ui/route.ts';
import { range } from './figures/days.ts';
import { ledTo } from './figures/report.ts';

/** Shows an account, on these days, and leads there whoever has chosen it. */
export function showAccount(id: string, days = range.value): void {
  range.value = days;
  ledTo.value = id;
  go('budget', ['accounts', id]);
}

export function showGroup(id: string): void {
  ledTo.value = id;
  go('budget', ['groups', id]);
}

/** Leads to what is shown of an account. */
export function AccountLink({ account }: { account: string }) {
  return (
    <button type="button" class="link" onClick={() => showAccount(account)}>
      {account}
    </button>
  );
}

export function GroupLink({ group }: { group: string }) {
  return (
    <button type="button" class="link" onClick={() => showGroup(group)}>
      {group}
    </button>
  );
}
