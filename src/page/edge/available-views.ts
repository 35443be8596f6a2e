/** Tells which parts and views of the page the edge offers to this token. */
import { type BudgetViewName, PAGE_PARTS, type PageSection } from '../ui/route.ts';
import { identity } from './identity.ts';
import { hasPlugin, includedPlugins } from './plugins.ts';

/** @returns the parts that are available; none until it is known which plugins the edge includes, so that no tab disappears */
export function listAvailablePageParts(): readonly PageSection[] {
  if (includedPlugins.value === undefined) return [];
  const { canChat } = identity.value;
  return PAGE_PARTS.filter((name) => {
    // The Inspector shows only requests of the other parts.
    if (!canChat) return name === 'budget';
    return name !== 'agents' || hasPlugin('agents');
  });
}

export function isBudgetViewAvailable(view: BudgetViewName): boolean {
  switch (view) {
    case 'accounts':
      return identity.value.operator;
    case 'groups':
    case 'refused':
    case 'failed':
      // Lists of all accounts need the budget that they share.
      return identity.value.operator && hasPlugin('pools');
    case 'webhooks':
      return identity.value.operator && hasPlugin('webhooks');
    default:
      return true;
  }
}
