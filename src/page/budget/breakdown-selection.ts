/** Keeps what the breakdown of an account's spending is grouped by, and which of it is shown alone. */

import { signal } from '@preact/signals';
import { createTokenSignal } from '../edge/credential.ts';
import { identity } from '../edge/identity.ts';
import { hasPlugin } from '../edge/plugins.ts';
import { navigateToSection } from '../ui/route.ts';
import { listedRange } from './figures/days.ts';
import { shownAccount } from './figures/report.ts';
import { navigateToAccount } from './links.tsx';

export const SPEND_GROUPS = {
  model: 'Model',
  tag: 'Tag',
  conversation: 'Conversation',
  agent: 'Agent',
  user: 'User',
  token: 'Token',
  tool: 'Tool',
} as const;
export type SpendGrouping = keyof typeof SPEND_GROUPS;

/** @returns the groupings that the plugins of this edge fill, with their names */
export function listAvailableGroupings(): [SpendGrouping, string][] {
  const isGroupingAvailable = (group: string) =>
    (group !== 'agent' || hasPlugin('agents')) && (group !== 'tool' || hasPlugin('runs'));
  return (Object.entries(SPEND_GROUPS) as [SpendGrouping, string][]).filter(([group]) => isGroupingAvailable(group));
}

export const spendGroup = signal<SpendGrouping>('model');
/** The only one that is shown, of what is grouped by; undefined for all of them. */
export const selectedKey = createTokenSignal<string | undefined>(undefined);

/** Chooses what is grouped by, and shows all of it. */
export function selectSpendGrouping(group: SpendGrouping): void {
  selectedKey.value = undefined;
  spendGroup.value = group;
}

/** Shows the cost of one conversation, agent or tag of an account in the last 7 days. */
export function showSpendOfKey(group: SpendGrouping, key: string, accountId = shownAccount.value): void {
  spendGroup.value = group;
  selectedKey.value = key;
  listedRange.value = 'week';
  if (identity.value.operator) navigateToAccount(accountId);
  else navigateToSection('budget');
}
