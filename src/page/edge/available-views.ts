/** Tells which parts and views of the page the edge offers to this token. */
import { type BudgetViewName, PAGE_PARTS, type PageSection } from '../ui/route.ts';
import { hasScope, hasUnrestrictedScope, identity, listRestrictedNames } from './identity.ts';
import { hasPlugin, includedPlugins } from './plugins.ts';

/** Whether a token can use each part: it has the scope of the part's requests. */
const IS_PART_ALLOWED: Record<PageSection, () => boolean> = {
  // POST /messages. A restricted token asks only its agents.
  chat: () => hasUnrestrictedScope('messages') || (hasScope('messages') && listRestrictedNames('agents').length > 0),
  // POST /classify. A restricted token uses only its classifiers.
  classify: () =>
    hasUnrestrictedScope('classify') || (hasScope('classify') && listRestrictedNames('classifiers').length > 0),
  // GET /agents
  agents: () => hasPlugin('agents') && hasUnrestrictedScope('messages'),
  // GET /usage and GET /accounts/:id, which any token can read that is not restricted.
  budget: () => identity.value.account !== '' && identity.value.only === undefined,
  // The Inspector shows only requests of these parts.
  wire: () => IS_PART_ALLOWED.chat() || IS_PART_ALLOWED.classify(),
};

/** @returns the parts that are available; none until it is known which plugins the edge includes, so that no tab disappears */
export function listAvailablePageParts(): readonly PageSection[] {
  return includedPlugins.value === undefined ? [] : PAGE_PARTS.filter((name) => IS_PART_ALLOWED[name]());
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
