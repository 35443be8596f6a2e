/** Leads to views of accounts and groups. */

import { identity } from '../edge/identity.ts';
import { go } from '../ui/route.ts';
import { minuteListed, range } from './figures/days.ts';
import { listedKind } from './figures/listed-requests.ts';
import { ledTo } from './figures/report.ts';

/** The address of the list of accounts. */
export const ACCOUNTS = '#/budget/accounts';
/** The address of the list of sources of webhooks. */
export const SOURCES = '#/budget/webhooks';
/** What the URL has in place of a source of webhooks, for alerts: no source can have this name. */
export const ALERTS = 'alert';

/** The id of what holds the fields for credit. */
export const CREDIT_FIELDS = 'credit-fields';

/** @returns the address of the list of a source's events, or of alerts */
export function addressOf(source: string): string {
  return `${SOURCES}/${encodeURIComponent(source)}`;
}

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

/** Shows the requests of an account, and leads there whoever has chosen them. */
export function showRequests(id: string): void {
  ledTo.value = requestsOf(id);
  go('budget', ['requests', ...(id === identity.value.account ? [] : [id])]);
}

/** @returns what `ledTo` names an account's requests by */
export function requestsOf(id: string): string {
  return `requests of ${id}`;
}

/** Shows which requests of an account were refused today. */
export function showRefusedToday(id: string): void {
  [range.value, minuteListed.value, listedKind.value] = ['today', '', 'refused'];
  showRequests(id);
}

/** Leads to what is shown of an account. */
export function AccountLink({ account, name = account }: { account: string; name?: string }) {
  return (
    <button type="button" class="link" onClick={() => showAccount(account)}>
      {name}
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

/** Takes the user to the form for credit. */
export function goToCredit(): void {
  document.getElementById(CREDIT_FIELDS)?.querySelector('input')?.focus();
}
