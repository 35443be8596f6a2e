/** Links to views of accounts and groups. */

import { identity } from '../edge/identity.ts';
import { Identifier } from '../ui/identifier.tsx';
import { navigateToSection } from '../ui/route.ts';
import { listedMinute, listedRange } from './figures/days.ts';
import { listedRequestKind } from './figures/listed-requests.ts';
import { focusTarget } from './figures/report.ts';

/** The address of the spending of the deployment. */
export const OVERVIEW_HREF = '#/budget';
/** The address of the list of accounts. */
export const ACCOUNTS_HREF = '#/budget/accounts';
/** The address of the list of sources of webhooks. */
export const SOURCES_HREF = '#/budget/webhooks';
/** The value in the URL that stands for alerts, in place of a webhook source. No source can have this name. */
export const ALERTS_SOURCE = 'alert';

/** What `focusTarget` names the spending by account in the overview by, and the form with the deployment's limits. */
export const SPENDERS_TARGET = 'spending by account';
export const DEPLOYMENT_LIMITS_TARGET = 'limits of the deployment';

/** The id of what holds the fields for credit. */
export const CREDIT_FIELDS_ID = 'credit-fields';

/** @returns the address of the list of a source's events, or of alerts */
export function getWebhookSourceHref(source: string): string {
  return `${SOURCES_HREF}/${encodeURIComponent(source)}`;
}

/** Shows an account on these days, and moves the focus there. */
export function navigateToAccount(id: string, days = listedRange.value): void {
  listedRange.value = days;
  focusTarget.value = id;
  navigateToSection('budget', ['accounts', id]);
}

export function navigateToGroup(id: string): void {
  focusTarget.value = id;
  navigateToSection('budget', ['groups', id]);
}

/** Shows the requests of an account, and moves the focus there. @param kind which of them; by default those that were shown last */
export function navigateToAccountRequests(id: string, kind = listedRequestKind.value): void {
  listedRequestKind.value = kind;
  focusTarget.value = createRequestsFocusTarget(id);
  navigateToSection('budget', ['requests', ...(id === identity.value.account ? [] : [id])]);
}

/** @returns what `focusTarget` names an account's requests by */
export function createRequestsFocusTarget(id: string): string {
  return `requests of ${id}`;
}

/** Shows which requests of an account were rejected today. */
export function navigateToRequestsRejectedToday(id: string): void {
  [listedRange.value, listedMinute.value] = ['today', ''];
  navigateToAccountRequests(id, 'refused');
}

/** Links to the view of an account. */
export function AccountLink({ account, name = account }: { account: string; name?: string }) {
  return (
    <button type="button" class="link" title={account} onClick={() => navigateToAccount(account)}>
      <Identifier id={name} />
    </button>
  );
}

export function GroupLink({ group, name = group }: { group: string; name?: string }) {
  return (
    <button type="button" class="link" title={group} onClick={() => navigateToGroup(group)}>
      <Identifier id={name} />
    </button>
  );
}

/** Links an admin to the form with the limits of the deployment. Others cannot change these limits, and see them as cards. */
export function DeploymentLimitsLink() {
  if (!identity.value.admin) return null;
  return (
    <a href={OVERVIEW_HREF} onClick={() => (focusTarget.value = DEPLOYMENT_LIMITS_TARGET)}>
      Limits of the deployment
    </a>
  );
}

/** Takes the user to the form for credit. */
export function focusCreditForm(): void {
  document.getElementById(CREDIT_FIELDS_ID)?.querySelector('input')?.focus();
}
