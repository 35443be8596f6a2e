/** Keeps what the breakdown of an account's spending is grouped by, and which of it is shown alone. */
import { signal } from '@preact/signals';
import { identity } from '../edge/identity.ts';
import { hasPlugin } from '../edge/plugins.ts';
import { navigate } from '../ui/route.ts';
import { listedRange } from './figures/days.ts';
import { shownAccount } from './figures/report.ts';
import { showAccount } from './links.tsx';

export const SPEND_GROUPS = {
  model: 'Model',
  tag: 'Tag',
  conversation: 'Conversation',
  agent: 'Agent',
  user: 'User',
  token: 'Token',
  tool: 'Tool',
} as const;
export type SpendGroup = keyof typeof SPEND_GROUPS;

/** @returns the groupings that the plugins of this edge fill, with their names */
export function getAvailableGroups(): [SpendGroup, string][] {
  const isFilled = (group: string) =>
    (group !== 'agent' || hasPlugin('agents')) && (group !== 'tool' || hasPlugin('runs'));
  return (Object.entries(SPEND_GROUPS) as [SpendGroup, string][]).filter(([group]) => isFilled(group));
}

export const spendGroup = signal<SpendGroup>('model');
/** The only one that is shown, of what is grouped by; undefined for all of them. */
export const selectedKey = signal<string | undefined>(undefined);

/** Chooses what is grouped by, and shows all of it. */
export function chooseSpendGroup(group: SpendGroup): void {
  selectedKey.value = undefined;
  spendGroup.value = group;
}

/** Leads to what one conversation, agent or tag of an account cost in the last 7 days. */
export function showCost(group: SpendGroup, key: string, accountId = shownAccount.value): void {
  spendGroup.value = group;
  selectedKey.value = key;
  listedRange.value = 'week';
  if (identity.value.admin) showAccount(accountId);
  else navigate('budget');
}
